package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/tests/reftool"
)

// Check runs a program and returns everything it printed.
func Check(path string, args ...string) (string, error) {
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w:\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Extract copies a byte range of a file into a new sparse file.
func Extract(from, to string, offset, size int64) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := offset; at < offset+size; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || data >= offset+size {
			return nil // a hole up to the end
		}
		if err != nil {
			return os.NewSyscallError("lseek SEEK_DATA", err)
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return os.NewSyscallError("lseek SEEK_HOLE", err)
		}
		hole = min(hole, offset+size)
		if _, err := io.Copy(io.NewOffsetWriter(out, data-offset), io.NewSectionReader(in, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

// FlipBit inverts the lowest bit of one byte of a machine's switched-off disk.
func FlipBit(disk string, offset int64) error {
	tool, err := reftool.Find("qemu-io", "qemu-utils")
	if err != nil {
		return err
	}
	out, err := Check(tool, "-f", "qcow2", "-c", fmt.Sprintf("read -v %d 1", offset), disk)
	if err != nil {
		return err
	}
	// The first line of the dump: "00000400:  e2  ."
	var at uint64
	var b byte
	if _, err := fmt.Sscanf(out, "%x: %x", &at, &b); err != nil || at != uint64(offset) {
		return fmt.Errorf("qemu-io read: %q is not a dump of the byte at %#x: %w", out, offset, errors.Join(err))
	}
	_, err = Check(tool, "-f", "qcow2", "-c", fmt.Sprintf("write -P %d %d 1", b^1, offset), disk)
	return err
}
