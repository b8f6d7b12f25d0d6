package state

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/block"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/init/step"
)

const (
	// Partition is the name of the state partition in the table.
	Partition = "state"
	// Dir is PID 1's own folder on it.
	Dir = config.StateDir + "/keelson"

	label = "keelson-state"
	// mountOptions: commit=30 joins the journal's writes of half a minute, for the life of
	// SD cards. What programs sync themselves is on the disk at once all the same.
	mountOptions = "commit=30,errors=remount-ro"
)

// Runner runs a program and returns its output; it is the reaper's Output.
type Runner func(*exec.Cmd) ([]byte, error)

// Opener opens the state partition of one disk.
type Opener struct {
	Sys  string // /sys
	Disk string // name below /sys/block
	Run  Runner
	Say  func(format string, args ...any) // the console
}

// Result is what Open did, for the boot table.
type Result struct {
	Device    string
	Formatted bool
	Grown     bool
	Repaired  bool
}

// String is a note for the boot table.
func (r Result) String() string {
	s := r.Device
	for _, x := range []struct {
		is   bool
		word string
	}{{r.Formatted, "formatted"}, {r.Grown, "grown"}, {r.Repaired, "repaired"}} {
		if x.is {
			s += ", " + x.word
		}
	}
	return s
}

// Open brings the partition up and mounts it on config.StateDir.
func (o Opener) Open() (Result, error) {
	var r Result
	disk, err := os.OpenFile("/dev/"+o.Disk, os.O_RDWR, 0)
	if err != nil {
		return r, err
	}
	defer disk.Close()
	number, life, err := o.fit(disk, &r)
	if err != nil {
		return r, err
	}
	r.Device, err = block.Partition(o.Sys, o.Disk, number)
	if err != nil {
		return r, err
	}
	what, err := look(r.Device)
	if err != nil {
		return r, err
	}
	format, err := mayFormat(what, life)
	switch {
	case err != nil:
		return r, fmt.Errorf("%s: %w", r.Device, err)
	case format:
		err = o.format(disk, number, r.Device)
		r.Formatted = true
	default:
		err = step.Advise(o.check(&r, what),
			"the node cannot start without its data; save what is on %s on another machine, then write the image again for a fresh start", r.Device)
	}
	if err != nil {
		return r, err
	}
	m := mount.Mount{Source: r.Device, Target: config.StateDir, Type: "ext4", Flags: unix.MS_NOATIME, Data: mountOptions}
	if err := mount.Do(m); err != nil {
		return r, step.Advise(err, "write the image again for a fresh start; the data on %s was not touched", r.Device)
	}
	if !r.Formatted {
		if grown, err := o.growFS(r.Device); err != nil {
			o.Say("state: %v; going on with the old size", err)
		} else {
			r.Grown = r.Grown || grown
		}
	}
	return r, nil
}

// mayFormat says whether a partition with this life in the table may be formatted.
// A blank one that was formatted before is an error: flash memory that fails may read as
// zeros, and what lies behind these may still be there. Writing the image again makes a
// new table, and with it a fresh start.
func mayFormat(what content, life parttable.Life) (bool, error) {
	switch {
	case life == parttable.Formatting:
		return true, nil
	case what != blank:
		return false, nil
	case life == parttable.Formatted:
		return false, step.Advise(errors.New("its first mebibyte reads as zeros, although it had a file system: the disk is failing"),
			"boot again; if this comes back, save what is on the state partition on another machine (e2fsck -b 32768), "+
				"then write the image again, to another disk, for a fresh start")
	}
	return true, nil
}

// fit makes the table and the partition reach to the disk's end, and returns the
// partition's number and its life.
func (o Opener) fit(disk *os.File, r *Result) (number int, life parttable.Life, err error) {
	t, err := readTable(disk)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", disk.Name(), err)
	}
	number, ok := t.Find(Partition)
	if !ok {
		return 0, 0, step.Advise(fmt.Errorf("%s has no partition %q, or several", disk.Name(), Partition), "write the image again")
	}
	changed, err := t.Grow(number)
	if err != nil {
		return 0, 0, step.Advise(fmt.Errorf("%s: %w", disk.Name(), err), "write the image to a disk that is large enough for it")
	}
	if changed || t.FromBackup() {
		if err := t.Write(disk); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", disk.Name(), err)
		}
	}
	if n := t.Beyond(); changed && n > 0 {
		o.Say("state: %s has %d GB beyond 2 TiB, which this board's partition table (MBR) does not reach: they stay unused", disk.Name(), n/1e9)
	}
	r.Grown = changed
	offset, size := t.Extent(number)
	// Also when nothing changed: an earlier boot may have ended between the two.
	if err := block.ResizePartition(disk, number, offset, size); err != nil {
		return 0, 0, err
	}
	return number, t.Life(number), nil
}

func readTable(disk *os.File) (*parttable.Table, error) {
	size, err := block.Size(disk)
	if err != nil {
		return nil, err
	}
	return parttable.Read(disk, size)
}

// mark remembers in the table how far the partition has come.
func mark(disk *os.File, number int, life parttable.Life) error {
	t, err := readTable(disk)
	if err != nil {
		return err
	}
	if t.Life(number) == life {
		return nil
	}
	t.SetLife(number, life)
	return t.Write(disk)
}

// binds are the folders of the state partition that programs look for elsewhere.
var binds = []struct {
	from, to string
	mode     os.FileMode
}{
	{Dir + "/kubelet", "/var/lib/kubelet", 0o750},
	{Dir + "/log", "/var/log", 0o755},
	{Dir + "/etc-rancher", "/etc/rancher", 0o755},
	{Dir + "/cni", "/var/lib/cni", 0o755},
}

// Bind makes the folders and binds them. It goes on after an error.
func Bind() error {
	var errs []error
	for _, b := range binds {
		err := os.MkdirAll(b.from, b.mode)
		if err == nil {
			err = mount.Bind(b.from, b.to)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Writable is the health check of the partition: with probe it writes a block through to
// the disk, else it only asks whether the kernel has made it read-only after an error.
// A full partition is no error: its disk answers, and a restart would not empty it.
func Writable(probe bool) error {
	var st unix.Statfs_t
	if err := unix.Statfs(config.StateDir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: config.StateDir, Err: err}
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("state partition %s has become read-only: the disk had errors", config.StateDir)
	}
	if !probe {
		return nil
	}
	return writeThrough(filepath.Join(Dir, "health"))
}

func writeThrough(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt([]byte("ok\n"), 0)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}
