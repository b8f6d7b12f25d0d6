package wipe

import (
	"errors"
	"fmt"

	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/init/state"
)

const mib = 1 << 20

// State wipes the state partition and marks it as never formatted: the next boot makes a new file system and asks the
// FAT partition for a configuration. Cut short at any point the next boot formats it as well. Nothing may be mounted from
// the partition for writing.
func (d *Disk) State() error {
	if err := d.mark(parttable.Formatting); err != nil {
		return err
	}
	t, number, err := d.find(state.Partition)
	if err != nil {
		return err
	}
	off, size := t.Extent(number)
	if err := d.partition("state partition", off, size); err != nil {
		return err
	}
	return d.mark(parttable.Fresh)
}

// All wipes the disk: the state partition, the boot files, both slots, last the one called booted ("a" or "b"), the boot
// loaders before the first partition, and the partition table. The machine does not boot from it any more. What runs must
// be in memory, as nothing can be read from the root afterwards.
func (d *Disk) All(booted string) error {
	t, err := d.table()
	if err != nil {
		return err
	}
	names := []string{state.Partition, "esp", "root-a", "root-b"}
	if booted == "a" {
		names[2], names[3] = names[3], names[2]
	}
	first := d.size
	var errs []error
	for _, name := range names {
		number, ok := t.Find(name)
		if !ok {
			continue
		}
		off, size := t.Extent(number)
		first = min(first, off)
		// A part that cannot be overwritten is no reason to leave the others.
		errs = append(errs, d.partition("partition "+name, off, size))
	}
	errs = append(errs, d.partition("boot loaders and partition table", 0, min(first, d.size)))
	tail := min(int64(mib), d.size)
	errs = append(errs, d.zero("copy of the partition table", d.size-tail, tail))
	return errors.Join(errs...)
}

func (d *Disk) partition(what string, off, size int64) error {
	for _, place := range heads(size) {
		n := min(int64(headSize), size-place)
		if err := d.zeroChunk(off+place, n); err != nil {
			return fmt.Errorf("overwrite %s: %w", what, err)
		}
	}
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("overwrite %s: %w", what, err)
	}
	d.alive()
	how := "overwritten with zeros"
	if d.discard(off, size) {
		how = "discarded and " + how
	}
	if err := d.zero(what, off, size); err != nil {
		return err
	}
	d.say("wiped: %s (bytes %d to %d of %s, %.1f GB): %s", what, off, off+size, d.f.Name(), float64(size)/1e9, how)
	return nil
}

// headSize is how much goes first at each place, in bytes.
const headSize = mib

// heads are the places in a partition of size bytes by which an ext4 or FAT file system can be found: its start and
// end, and the groups of blocks with a copy of ext4's superblock: 1 and the powers of 3, 5 and 7. A group of 4096-byte
// blocks has 128 MiB, one of 1024-byte blocks, in a file system below 512 MiB, 8 MiB.
// Source: Documentation/filesystems/ext4/blockgroup.rst, "Sparse super".
func heads(size int64) []int64 {
	places := []int64{0, max(0, size-headSize)}
	for _, group := range []int64{128 * mib, 8 * mib} {
		if group < 128*mib && size >= 512*mib {
			continue
		}
		if group < size {
			places = append(places, group)
		}
		for _, base := range []int64{3, 5, 7} {
			for n := base; n < size/group; n *= base {
				places = append(places, n*group)
			}
		}
	}
	return places
}

func (d *Disk) table() (*parttable.Table, error) {
	t, err := parttable.Read(d.f, d.size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.f.Name(), err)
	}
	return t, nil
}

func (d *Disk) find(name string) (*parttable.Table, int, error) {
	t, err := d.table()
	if err != nil {
		return nil, 0, err
	}
	number, ok := t.Find(name)
	if !ok {
		return nil, 0, fmt.Errorf("%s has no partition %q, or several", d.f.Name(), name)
	}
	return t, number, nil
}

func (d *Disk) mark(life parttable.Life) error {
	t, number, err := d.find(state.Partition)
	if err != nil {
		return err
	}
	t.SetLife(number, life)
	return t.Write(d.f)
}
