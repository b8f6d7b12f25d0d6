package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/init/block"
	"github.com/keelson-os/keelson/init/parttable"
)

// content is what a partition holds.
type content int

const (
	blank content = iota
	ext4          // a superblock is there, which does not mean it is right
	other         // something that must not be formatted
)

// blankSize is how much of the partition's start has to be zero for it to count as never
// used, in bytes.
const blankSize = 1 << 20

// ext4 superblock fields, in bytes from the start of the file system.
// Source: Documentation/filesystems/ext4/super.rst.
const (
	superblock  = 1024
	offBlocksLo = superblock + 0x4
	offLogBlock = superblock + 0x18
	offMagic    = superblock + 0x38
	offBlocksHi = superblock + 0x150
	magic       = 0xef53
)

func look(dev string) (content, error) {
	f, err := os.Open(dev)
	if err != nil {
		return other, err
	}
	defer f.Close()
	head := make([]byte, blankSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return other, fmt.Errorf("read the start of %s: %w", dev, err)
	}
	return contentOf(head[:n]), nil
}

func contentOf(head []byte) content {
	if len(head) >= offMagic+2 && binary.LittleEndian.Uint16(head[offMagic:]) == magic {
		return ext4
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		return blank
	}
	return other
}

// fsSize returns the length in bytes of the ext4 file system whose first 2048 bytes are
// head.
func fsSize(head []byte) (int64, error) {
	if len(head) < offBlocksHi+4 || contentOf(head) != ext4 {
		return 0, errors.New("no ext4 superblock")
	}
	log := binary.LittleEndian.Uint32(head[offLogBlock:])
	blocks := uint64(binary.LittleEndian.Uint32(head[offBlocksLo:])) | uint64(binary.LittleEndian.Uint32(head[offBlocksHi:]))<<32
	if log > 6 || blocks > 1<<48 {
		return 0, fmt.Errorf("ext4 superblock is damaged: %d blocks of 2^(10+%d) bytes", blocks, log)
	}
	return int64(blocks) << (10 + log), nil
}

// format makes the file system. Inode tables and journal are cleared later by the kernel,
// in the background: on a large disk that takes minutes.
func (o Opener) format(disk *os.File, number int, dev string) error {
	if err := mark(disk, number, parttable.Formatting); err != nil {
		return err
	}
	o.Say("state: making the file system on %s", dev)
	cmd := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "1",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", dev)
	if out, err := o.Run(cmd); err != nil {
		return programError(cmd, out, err)
	}
	if err := syncDevice(dev); err != nil {
		return err
	}
	return mark(disk, number, parttable.Formatted)
}

func syncDevice(dev string) error {
	f, err := os.OpenFile(dev, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Exit codes of e2fsck; they add up.
// Source: e2fsck(8).
const (
	fsckCorrected   = 1
	fsckReboot      = 2 // corrected, and only mounted file systems need the reboot
	fsckUncorrected = 4
)

// check runs e2fsck: first what it can repair safely, then, told on the console, all it
// can repair. It returns nil when the file system may be mounted.
func (o Opener) check(r *Result, what content) error {
	dev := r.Device
	if what == ext4 {
		code, out, err := o.fsck("-p", dev)
		if err == nil && code < fsckUncorrected {
			r.Repaired = code&(fsckCorrected|fsckReboot) != 0
			return nil
		}
		if err != nil {
			return err
		}
		o.Say("state: e2fsck -p %s: exit code %d: %s", dev, code, lastLines(out))
		o.Say("state: the file system has errors that need more than the safe repairs; repairing all of them, which can take minutes")
	} else {
		o.Say("state: %s is not blank and has no ext4 superblock; looking for a copy of it", dev)
	}
	code, out, err := o.fsck("-y", dev)
	if err != nil {
		return err
	}
	if code >= fsckUncorrected {
		return fmt.Errorf("%s holds no file system that can be repaired: e2fsck -y: exit code %d: %s", dev, code, complaint(out))
	}
	r.Repaired = true
	return nil
}

func (o Opener) fsck(mode, dev string) (code int, out []byte, err error) {
	cmd := exec.Command("e2fsck", mode, dev)
	out, err = o.Run(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), out, nil
	}
	if err != nil {
		return 0, out, programError(cmd, out, err)
	}
	return 0, out, nil
}

// growFS lets the mounted file system fill its partition. Less than 1/64 of it is not
// worth the writes: a partition rarely is a multiple of the file system's groups.
func (o Opener) growFS(dev string) (bool, error) {
	f, err := os.Open(dev)
	if err != nil {
		return false, err
	}
	defer f.Close()
	part, err := block.Size(f)
	if err != nil {
		return false, err
	}
	head := make([]byte, 2048)
	if _, err := io.ReadFull(f, head); err != nil {
		return false, err
	}
	size, err := fsSize(head)
	if err != nil {
		return false, err
	}
	if part-size < part/64 {
		return false, nil
	}
	cmd := exec.Command("resize2fs", dev)
	if out, err := o.Run(cmd); err != nil {
		return false, programError(cmd, out, err)
	}
	return true, nil
}

func programError(cmd *exec.Cmd, out []byte, err error) error {
	if len(out) == 0 {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(out))
}

// complaint is what e2fsck itself says is wrong, without the advice that follows it.
func complaint(out []byte) string {
	l := strings.Split(string(out), "\n")
	for _, line := range slices.Backward(l) {
		if text, ok := strings.CutPrefix(line, "e2fsck: "); ok {
			return text
		}
	}
	return lastLines(out)
}

// lastLines joins the last three lines of a program's output.
func lastLines(out []byte) string {
	l := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(l[max(0, len(l)-3):], "; ")
}
