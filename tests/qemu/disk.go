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
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrImageChanged means that the image is not the one the machine's disk was made from.
// The overlay holds only what differs from that image, so it is of no use on another.
var ErrImageChanged = errors.New("the image has changed since the machine's disk was made from it")

// Files of a machine's folder.
const (
	recordName = "image.json"
	diskName   = "disk.qcow2"
	varsName   = "vars.fd"
	codeName   = "code.fd"   // the firmware, where the host's file is smaller than the chip
	rawName    = "image.raw" // the unpacked image, where it is not a raw disk
	kernelName = "linux"     // these three where QEMU loads the kernel
	initrdName = "initrd.img"
	treeName   = "board.dtb"
)

// imageRecord is image.json: the image that disk.qcow2 lies over.
type imageRecord struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"` // bytes
	Modified time.Time `json:"modified"`
	SHA256   string    `json:"sha256"` // see digest
}

// prepareImage checks that the machine's disk, if there is one, belongs to the image; fresh
// is true when there is none, and record is what to keep once there is. An image that is not a
// raw disk is unpacked.
func (m *Machine) prepareImage(ctx context.Context) (record imageRecord, fresh bool, err error) {
	image, err := filepath.Abs(m.cfg.Image)
	if err != nil {
		return record, false, err
	}
	st, err := os.Stat(image)
	if err != nil {
		return record, false, err
	}
	record = imageRecord{Path: image, Size: st.Size(), Modified: st.ModTime().UTC()}
	data, err := os.ReadFile(m.path(recordName))
	if err == nil {
		return record, false, m.sameImage(ctx, record, data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return record, false, err
	}
	if record.SHA256, err = digest(ctx, image); err != nil {
		return record, false, err
	}
	if m.format != formatRaw {
		err = unpack(ctx, image, m.format, m.cfg.Dir, m.path(rawName))
	}
	return record, true, err
}

// sameImage compares the image with the record of the one that the disk was made from.
func (m *Machine) sameImage(ctx context.Context, now imageRecord, data []byte) error {
	var old imageRecord
	if err := json.Unmarshal(data, &old); err != nil {
		return fmt.Errorf("%s: %w", m.path(recordName), err)
	}
	if old.Path == now.Path && old.Size == now.Size && old.Modified.Equal(now.Modified) {
		return nil
	}
	// A rebuild of the same inputs gives the same bytes, at another time or place.
	var err error
	if now.SHA256, err = digest(ctx, now.Path); err != nil {
		return err
	}
	if old.SHA256 != now.SHA256 {
		return fmt.Errorf("%s: %w", m.cfg.Image, ErrImageChanged)
	}
	if old.Path != now.Path && m.format == formatRaw {
		if err := runTool(ctx, m.cfg.Dir, "qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", now.Path, diskName); err != nil {
			return err
		}
	}
	return writeRecord(m.path(recordName), now)
}

// prepareDisk makes disk.qcow2 over the raw disk.
func (m *Machine) prepareDisk(ctx context.Context, raw string) error {
	st, err := os.Stat(raw)
	if err != nil {
		return err
	}
	if err := m.remove(diskName); err != nil {
		return err
	}
	size := m.cfg.diskSize(st.Size())
	return runTool(ctx, m.cfg.Dir, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, diskName, fmt.Sprint(size))
}

// diskSize is the size in bytes of the disk over an image: whole mebibytes, and for an SD card a
// power of two, which QEMU insists on.
func (c *Config) diskSize(image int64) int64 {
	size := (max(c.DiskSize, image) + 1<<20 - 1) >> 20 << 20
	if c.Disk == DiskSD {
		size = 1 << bits.Len64(uint64(size-1))
	}
	return size
}

// Grow makes the disk of a switched-off machine larger, as if the image had been written to a
// larger one; what is on it stays. size is in bytes and must be more than the disk has. The machine
// must have been started before.
func (m *Machine) Grow(ctx context.Context, size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := CheckStopped(ctx, m.cfg.Dir); err != nil {
		return err
	}
	return runTool(ctx, m.cfg.Dir, "qemu-img", "resize", "-q", "-f", "qcow2", diskName, fmt.Sprint(size))
}

// pflashSize is that of each of virt's two flash chips, bytes; QEMU takes no smaller file.
const pflashSize = 64 << 20

// prepareFirmware makes the machine's UEFI variables, if it has none yet, and a copy of the
// firmware as large as the chip if it is not.
func (m *Machine) prepareFirmware(ctx context.Context) error {
	fw := &m.firmware
	if fw.code == "" {
		return nil
	}
	var want int64
	if m.platform.Arch == arm64 {
		want = pflashSize
		st, err := os.Stat(fw.code)
		if err != nil {
			return err
		}
		if st.Size() < want {
			if err := flash(ctx, fw.code, m.path(codeName), want); err != nil {
				return err
			}
			fw.code = codeName
		}
	}
	if _, err := os.Stat(m.path(varsName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return flash(ctx, fw.vars, m.path(varsName), want)
}

// flash copies a firmware file, and makes the copy at least size bytes long.
func flash(ctx context.Context, from, to string, size int64) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	tmp := to + ".part"
	n, err := writeSparse(ctx, tmp, in)
	if err != nil {
		return err
	}
	if n < size {
		if err := os.Truncate(tmp, size); err != nil {
			return err
		}
	}
	return os.Rename(tmp, to)
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
		data, end := nextData(f, off)
		if end {
			break
		}
		off = data / block * block
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
	cmd := exec.CommandContext(ctx, programPath(name), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
