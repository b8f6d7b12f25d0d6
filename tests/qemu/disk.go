package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrImageChanged means that the image is not the one the machine's disk was made from.
// The overlay holds only what differs from that image, so it is of no use on another.
var ErrImageChanged = errors.New("the image has changed since the machine's disk was made from it")

// imageRecord is image.json: the image that disk.qcow2 lies over.
type imageRecord struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"` // bytes
	Modified time.Time `json:"modified"`
	SHA256   string    `json:"sha256"` // see digest
}

// prepareDisk makes disk.qcow2 and vars.fd in the machine's folder, or checks that the
// ones there belong to the image.
func (m *Machine) prepareDisk(ctx context.Context) error {
	image, err := filepath.Abs(m.cfg.Image)
	if err != nil {
		return err
	}
	st, err := os.Stat(image)
	if err != nil {
		return err
	}
	now := imageRecord{Path: image, Size: st.Size(), Modified: st.ModTime().UTC()}
	record, disk, vars := m.path("image.json"), m.path("disk.qcow2"), m.path("vars.fd")
	if data, err := os.ReadFile(record); err == nil {
		var old imageRecord
		if err := json.Unmarshal(data, &old); err != nil {
			return fmt.Errorf("%s: %w", record, err)
		}
		if old.Path == now.Path && old.Size == now.Size && old.Modified.Equal(now.Modified) {
			return nil
		}
		// A rebuild of the same inputs gives the same bytes, at another time or place.
		if now.SHA256, err = digest(ctx, image); err != nil {
			return err
		}
		if old.SHA256 != now.SHA256 {
			return fmt.Errorf("%s: %w", m.cfg.Image, ErrImageChanged)
		}
		if old.Path != now.Path {
			if err := runTool(ctx, m.cfg.Dir, "qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", image, "disk.qcow2"); err != nil {
				return err
			}
		}
		return writeRecord(record, now)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	if now.SHA256, err = digest(ctx, image); err != nil {
		return err
	}
	size := max(m.cfg.DiskSize, now.Size)
	size = (size + 1<<20 - 1) >> 20 << 20
	if err := os.Remove(disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := runTool(ctx, m.cfg.Dir, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, "disk.qcow2", fmt.Sprint(size)); err != nil {
		return err
	}
	data, err := os.ReadFile(m.firmware.vars)
	if err != nil {
		return err
	}
	if err := os.WriteFile(vars, data, 0o600); err != nil {
		return err
	}
	return writeRecord(record, now) // last: without it the disk is made anew
}

func writeRecord(path string, r imageRecord) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// checkImage refuses files that are no raw disk image, with what to do instead.
func checkImage(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: is not a regular file, expected a disk image made by keelson build", path)
	}
	var head [1024]byte
	n, err := io.ReadFull(f, head[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case strings.HasPrefix(string(head[:n]), "\x28\xb5\x2f\xfd"):
		return fmt.Errorf("%s: is compressed: unpack it with \"zstd -d %s\" (Debian package zstd), or build without --compress", path, filepath.Base(path))
	case strings.HasPrefix(string(head[:n]), "QFI\xfb"):
		return fmt.Errorf("%s: is a qcow2 file, expected the raw disk image made by keelson build", path)
	case n < len(head) || string(head[512:520]) != "EFI PART":
		return fmt.Errorf("%s: has no GUID partition table, expected a disk image made by keelson build", path)
	}
	return nil
}

// digest hashes what an image holds: its size, and every 1 MiB block that is not all
// zero with its place. Holes are skipped, so that it takes a second, not a minute, and
// does not depend on how sparsely the file is stored.
func digest(ctx context.Context, path string) (_ string, err error) {
	const block = 1 << 20
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	put := func(v int64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(v))
		h.Write(b[:])
	}
	put(st.Size())
	buf := make([]byte, block)
	var zero [block]byte
	for off := int64(0); off < st.Size(); off += block {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		// Not every file system knows holes: then SEEK_DATA answers off itself.
		if data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA); err == nil {
			off = data / block * block
		} else if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		n, err := f.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if string(buf[:n]) != string(zero[:n]) {
			put(off)
			h.Write(buf[:n])
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// runTool runs a program that says nothing when all is well.
func runTool(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
