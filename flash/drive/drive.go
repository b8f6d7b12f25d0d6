// Package drive finds this computer's disks, says what speaks against overwriting one, and
// opens one, or a regular file in its place, for reads and writes that do not go through
// the system's cache.
//
// Linux is asked through /sys, /proc and udev's database, macOS through diskutil, Windows
// through PowerShell's Get-Disk and through device controls.
package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SectorSize is the only size of a logical block, in bytes, that an image can be written to:
// its partition table counts in it.
const SectorSize = 512

// Disk is a whole disk, or a regular file that takes its place.
type Disk struct {
	Path       string // what a user types: /dev/sdb, /dev/disk4, \\.\PhysicalDrive2, or a file
	Size       int64  // bytes; of a file 0 when it is not there or empty
	SectorSize int    // bytes of a logical block
	Model      string // maker and name, "" when unknown
	Bus        string // usb, sd, mmc, nvme, ata, virtio, …; "" when unknown; "file" for a regular file
	Removable  bool   // its medium comes out, or the whole disk does: USB, SD cards
	ReadOnly   bool
	Partitions []Partition
	Uses       []Use
	// Part is the path that was asked for when it is only a partition of this disk, and
	// PartSize its bytes.
	Part     string
	PartSize int64
}

// Partition is what is on a disk.
type Partition struct {
	Path       string
	Size       int64  // bytes
	Label      string // of the file system, else of the partition; "" when unknown
	FileSystem string // ext4, vfat, …; "" when unknown
	// Volume is Windows' name of the volume on it, \\?\Volume{…}\; "" elsewhere.
	Volume string
}

// Use is something that has the disk, or a part of it, open.
type Use struct {
	Kind Refusal // Mounted, InUse or System
	By   string  // for people: "/media/me/CARD (/dev/sdb1)"
	// Mount is where it is mounted, for Unmount; "" for another use.
	Mount string
}

// Refusal is a reason not to overwrite a disk that a user may overrule by its name.
type Refusal string

// The refusals.
const (
	Mounted      Refusal = "mounted"       // file systems of it are mounted; they are unmounted first
	InUse        Refusal = "in-use"        // swap, RAID, LVM or encryption has it open
	System       Refusal = "system"        // the running system is on it
	NotRemovable Refusal = "not-removable" // it is built in
	NotWhole     Refusal = "partition"     // it is a partition, not a whole disk
)

// Refusals lists them all, in the order in which they are asked.
func Refusals() []Refusal { return []Refusal{NotWhole, System, Mounted, InUse, NotRemovable} }

// RefusedError says why a disk is not overwritten.
type RefusedError struct {
	Why  Refusal
	Text string // what was found and what to do, without the way to overrule
}

func (e *RefusedError) Error() string { return e.Text }

// ErrNotDisk says that a path is neither a disk nor a regular file.
var ErrNotDisk = errors.New("is neither a disk nor a regular file")

// ErrNotFound says that there is no such disk.
var ErrNotFound = errors.New("there is no such disk")

// Target returns the path and the length in bytes of what is to be written: the disk, or
// the partition of it that was asked for.
func (d *Disk) Target() (path string, size int64) {
	if d.Part != "" {
		return d.Part, d.PartSize
	}
	return d.Path, d.Size
}

// IsFile reports whether the disk is a regular file.
func (d *Disk) IsFile() bool { return d.Bus == busFile }

const busFile = "file"

// Check returns what speaks against writing an image of need bytes to the disk: a
// *RefusedError for what is not in allowed, another error for what cannot be overruled.
func (d *Disk) Check(need int64, allowed []Refusal) error {
	switch {
	case d.ReadOnly:
		return fmt.Errorf("%s is read-only: slide the card's lock to the other side, or use another disk", d.Path)
	case d.IsFile() && d.Size == 0:
	case d.Size == 0:
		return fmt.Errorf("%s has no medium: put a card into the reader", d.Path)
	case d.SectorSize != SectorSize:
		return fmt.Errorf("%s has sectors of %d bytes, and partition tables of Keelson's images count in %d: use a disk with %d-byte sectors",
			d.Path, d.SectorSize, SectorSize, SectorSize)
	}
	path, size := d.Target()
	if size < need && (size > 0 || !d.IsFile()) && (d.Part == "" || slices.Contains(allowed, NotWhole)) {
		return fmt.Errorf("%s is too small: it has %d bytes, the image needs %d: use a disk of at least %d MB", path, size, need, (need+999_999)/1_000_000)
	}
	found := map[Refusal]string{}
	if d.Part != "" {
		found[NotWhole] = fmt.Sprintf("%s is a partition, and an image is a whole disk: give %s", d.Part, d.Path)
	}
	if !d.Removable && !d.IsFile() {
		found[NotRemovable] = fmt.Sprintf("%s is not removable (%s): is it really the disk you mean?", d.Path, d.Describe())
	}
	users := map[Refusal][]string{}
	for _, u := range d.Uses {
		if !slices.Contains(users[u.Kind], u.By) {
			users[u.Kind] = append(users[u.Kind], u.By)
		}
	}
	for kind, by := range users {
		text := map[Refusal]string{
			System:  "%s holds the running system: %s",
			Mounted: "%s is mounted: %s; unmount it first",
			InUse:   "%s is in use: %s; stop that first",
		}[kind]
		found[kind] = fmt.Sprintf(text, d.Path, strings.Join(by, ", "))
	}
	for _, r := range Refusals() {
		if text, ok := found[r]; ok && !slices.Contains(allowed, r) {
			return &RefusedError{Why: r, Text: text}
		}
	}
	return nil
}

// Describe says in a few words which disk it is: model and bus.
func (d *Disk) Describe() string {
	var words []string
	if d.Model != "" {
		words = append(words, d.Model)
	}
	switch d.Bus {
	case "":
	case busFile:
		words = append(words, "a file")
	default:
		words = append(words, d.Bus)
	}
	if len(words) == 0 {
		return "unknown model"
	}
	return strings.Join(words, ", ")
}

// Contents says in a line what is on the disk.
func (d *Disk) Contents() string {
	if len(d.Partitions) == 0 {
		return "nothing known"
	}
	var parts []string
	for _, p := range d.Partitions {
		switch {
		case p.Label != "" && p.FileSystem != "":
			parts = append(parts, p.Label+" ("+p.FileSystem+")")
		case p.Label != "" || p.FileSystem != "":
			parts = append(parts, p.Label+p.FileSystem)
		default:
			parts = append(parts, "?")
		}
	}
	return strings.Join(parts, ", ")
}

// List returns this computer's disks: those that hold a medium, sorted by path.
func List(ctx context.Context) ([]Disk, error) {
	all, err := list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the disks of this computer: %w", err)
	}
	all = slices.DeleteFunc(all, func(d Disk) bool { return d.Size == 0 })
	slices.SortFunc(all, func(a, b Disk) int { return comparePaths(a.Path, b.Path) })
	return all, nil
}

// comparePaths sorts sda before sdaa, and disk9 before disk10.
func comparePaths(a, b string) int {
	if n := len(a) - len(b); n != 0 {
		return n
	}
	return strings.Compare(a, b)
}

// Find returns the disk at a path, which may be a link or a partition (see Disk.Part), or a
// regular file, which need not exist yet. Errors: ErrNotFound, ErrNotDisk, those of the system.
func Find(ctx context.Context, path string) (*Disk, error) {
	if isDevicePath(path) {
		return find(ctx, path)
	}
	st, err := os.Stat(path)
	switch {
	case belowDev(path) && (errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode().IsRegular()):
		// A slip of the finger must not fill the memory that /dev is in with a file.
		return nil, fmt.Errorf("%s: %w; \"keelson flash\" lists those that there are", path, ErrNotFound)
	case errors.Is(err, fs.ErrNotExist):
		return &Disk{Path: path, SectorSize: SectorSize, Bus: busFile}, nil
	case err != nil:
		return nil, err
	case st.Mode().IsRegular():
		return &Disk{Path: path, Size: st.Size(), SectorSize: SectorSize, Bus: busFile, ReadOnly: st.Mode().Perm()&0o200 == 0}, nil
	case st.Mode()&fs.ModeDevice != 0:
		return find(ctx, path)
	case st.IsDir():
		return nil, fmt.Errorf("%s is a folder, expected a disk or an image file; without DEVICE, \"keelson flash\" lists the disks", path)
	}
	return nil, fmt.Errorf("%s %w", path, ErrNotDisk)
}

// belowDev reports whether a path is one of a device. /dev/shm is for files.
func belowDev(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	abs = filepath.ToSlash(abs)
	return strings.HasPrefix(abs, "/dev/") && !strings.HasPrefix(abs, "/dev/shm/")
}
