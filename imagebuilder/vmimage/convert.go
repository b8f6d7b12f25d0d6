package vmimage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
)

// tool makes qcow2 and vmdk.
const tool = "qemu-img"

// ErrTool says that qemu-img is not installed.
var ErrTool = errors.New("qemu-img is not installed: install the Debian package qemu-utils")

// NeedsTool says whether writing the format takes qemu-img.
func (f Format) NeedsTool() bool { return f == QCOW2 || f == VMDK }

// Check says whether images of the format can be written here. Errors wrap ErrTool.
func Check(f Format) error {
	if !f.NeedsTool() {
		return nil
	}
	if _, err := exec.LookPath(tool); err != nil {
		return fmt.Errorf("--format %s: %w", f, ErrTool)
	}
	return nil
}

// options are qemu-img's for a format, with everything said that its versions could choose differently.
var options = map[Format]string{
	QCOW2: "compat=1.1,cluster_size=65536,lazy_refcounts=off,refcount_bits=16",
	VMDK:  "adapter_type=lsilogic,subformat=monolithicSparse",
}

// Convert writes the raw disk in the file raw to the file out, which is there and whose content is replaced; f is QCOW2
// or VMDK. name is what the image will be called and id becomes a VMDK's content ID; both are in its bytes.
// Errors: ErrTool; syscall.ENOSPC, wrapped, if there is no room.
func Convert(ctx context.Context, f Format, raw, out, name string, id uint32) error {
	if err := Check(f); err != nil {
		return err
	}
	if !f.NeedsTool() {
		return fmt.Errorf("convert to %s: %w: want %s or %s", f, ErrFormat, QCOW2, VMDK)
	}
	cmd := exec.CommandContext(ctx, tool, "convert", "-f", "raw", "-O", string(f), "-o", options[f], "--", raw, out)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	text, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(text))
		if strings.Contains(said, "No space left on device") { // its exit status is 1 for everything
			err = errors.Join(err, syscall.ENOSPC)
		}
		return fmt.Errorf("convert to %s: %s: %w: %s", f, tool, err, said)
	}
	if f == VMDK {
		if err := settle(out, name, id); err != nil {
			return fmt.Errorf("convert to %s: %w", f, err)
		}
	}
	return nil
}

var (
	contentID  = regexp.MustCompile(`(?m)^CID=[0-9a-f]{1,8}$`)
	extentLine = regexp.MustCompile(`(?m)^(RW [0-9]+ SPARSE) ".*"$`)
)

// settle sets the content ID and the extent's file name in the descriptor inside a sparse VMDK.
// Source: VMware Virtual Disk Format 1.1, "Hosted Sparse Extent Header" and "The Descriptor File".
func settle(file, name string, id uint32) (err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const sector = 512
	header := make([]byte, sector)
	if _, err := f.ReadAt(header, 0); err != nil {
		return fmt.Errorf("%s: header: %w", file, err)
	}
	at, size := binary.LittleEndian.Uint64(header[28:]), binary.LittleEndian.Uint64(header[36:])
	if string(header[:4]) != "KDMV" || at == 0 || at > 64 || size == 0 || size > 64 {
		return fmt.Errorf("%s: no sparse VMDK with a descriptor inside: magic %q, descriptor at sector %d, %d sectors long", file, header[:4], at, size)
	}
	area := make([]byte, size*sector)
	if _, err := f.ReadAt(area, int64(at*sector)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: descriptor: %w", file, err)
	}
	// Behind the NUL may be what is left of a longer descriptor: qemu-img writes a content ID, and then one of as few digits as it takes.
	text, _, _ := bytes.Cut(area, []byte{0})
	if len(contentID.FindAll(text, -1)) != 1 || len(extentLine.FindAll(text, -1)) != 1 {
		return fmt.Errorf("%s: the descriptor has not one CID and one extent:\n%s", file, text)
	}
	text = contentID.ReplaceAll(text, fmt.Appendf(nil, "CID=%08x", id))
	text = extentLine.ReplaceAllFunc(text, func(line []byte) []byte {
		return fmt.Appendf(nil, "%s \"%s\"", extentLine.FindSubmatch(line)[1], name)
	})
	if len(text) > len(area) {
		return fmt.Errorf("%s: the name %s is too long for the descriptor", file, name)
	}
	next := make([]byte, len(area))
	copy(next, text)
	_, err = f.WriteAt(next, int64(at*sector))
	return err
}
