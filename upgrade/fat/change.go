package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

func equalNames(a, b string) bool { return strings.EqualFold(a, b) }

// newSet is the entries of a new name, and the byte of the folder where they go.
type newSet struct {
	at int
	b  []byte
}

// short returns the short entry, to be filled in.
func (s *newSet) short() []byte { return s.b[len(s.b)-entrySize:] }

// setEntry fills in the fields of a short entry.
func setEntry(e []byte, attr byte, first, size uint32, now time.Time) {
	if now.Year() < 1980 {
		now = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	day := uint16(min(now.Year()-1980, 127)<<9 | int(now.Month())<<5 | now.Day())
	clock := uint16(now.Hour()<<11 | now.Minute()<<5 | now.Second()/2)
	le := binary.LittleEndian
	if le.Uint16(e[16:]) == 0 { // created
		le.PutUint16(e[14:], clock)
		le.PutUint16(e[16:], day)
	}
	e[11] = e[11]&^attrReadOnly | attr
	le.PutUint16(e[18:], day) // read
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[22:], clock) // written
	le.PutUint16(e[24:], day)
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], size)
}

// reserve finds the place of a new name in a folder that has to grow for it, perhaps, and checks that n clusters are free besides.
// ErrFull: nothing was changed.
func (v *Volume) reserve(d *directory, name string, n int) (*newSet, error) {
	entries, err := d.newEntries(name)
	if err != nil {
		return nil, err
	}
	free, _ := v.count()
	at, ok := d.room(len(entries))
	need := n
	if !ok {
		need++
	}
	if int(free) < need {
		return nil, v.full(int(free), need)
	}
	if !ok {
		if err := v.grow(d); err != nil {
			return nil, err
		}
	}
	return &newSet{at, entries}, nil
}

// grow adds one empty cluster to the directory.
func (v *Volume) grow(d *directory) error {
	if int64(len(d.b))+v.cluster > maxDirectory {
		return fmt.Errorf("%w: %s has no room for one more name", ErrFull, d.name)
	}
	list, err := v.take(1)
	if err != nil {
		return err
	}
	c := list[0]
	if _, err := v.w.WriteAt(make([]byte, v.cluster), v.offset(c)); err != nil {
		return errors.Join(fmt.Errorf("write cluster %d: %w", c, err), v.giveBack(list, false))
	}
	if err := v.sync(); err != nil {
		return errors.Join(err, v.giveBack(list, false))
	}
	if err := v.writeTables(list); err != nil {
		return errors.Join(err, v.giveBack(list, true))
	}
	last := d.clusters[len(d.clusters)-1]
	v.set(last, c)
	if err := v.writeTables([]uint32{last}); err != nil {
		v.set(last, clusterMask)
		return errors.Join(err, v.writeTables([]uint32{last}), v.giveBack(list, true))
	}
	d.clusters = append(d.clusters, c)
	d.b = append(d.b, make([]byte, v.cluster)...)
	return nil
}

// publish puts new entries into a folder, as package fat's documentation says.
func (v *Volume) publish(d *directory, s *newSet) error {
	end := s.at + len(s.b)
	if end < len(d.b) && d.b[end] != entryEnd {
		// When the new entries lie behind the folder's end, what follows may be anything.
		for k := 0; k < end; k += entrySize {
			if d.b[k] == entryEnd {
				d.b[end] = entryEnd
				if err := v.writeFolder(d); err != nil {
					return err
				}
				break
			}
		}
	}
	copy(d.b[s.at:], s.b)
	for k := s.at; k < end; k += entrySize {
		d.b[k] = entryFree
	}
	if err := v.writeFolder(d); err != nil {
		return err
	}
	last := end - entrySize
	for k := s.at; k < last; k += entrySize {
		d.b[k] = s.b[k-s.at]
	}
	if err := v.writeFolder(d); err != nil {
		return err
	}
	d.b[last] = s.short()[0]
	return v.writeFolder(d)
}

// unlink removes entries from a folder, and then frees the clusters that only they had, overwritten with zeros if wipe is set.
func (v *Volume) unlink(d *directory, old []entry, wipe bool) error {
	var clusters []uint32
	for _, e := range old {
		c, err := v.below(e)
		if err != nil {
			return err
		}
		clusters = append(clusters, c...)
		d.b[e.at] = entryFree
	}
	if err := v.writeFolder(d); err != nil {
		return err
	}
	for _, e := range old {
		for k := e.from; k < e.at; k += entrySize {
			d.b[k] = entryFree
		}
	}
	if err := v.writeFolder(d); err != nil {
		return err
	}
	return v.release(clusters, wipe)
}

// below returns the clusters of a file, or of a folder and all that is in it.
func (v *Volume) below(e entry) ([]uint32, error) {
	if !e.isDir() {
		return v.prefix(e.first), nil
	}
	u := &usage{v: v, used: make([]bool, v.end)}
	if err := u.folder(e.name, e.first, 0); err != nil {
		return nil, err
	}
	var out []uint32
	for c, used := range u.used {
		if used {
			out = append(out, uint32(c))
		}
	}
	return out, nil
}

// prefix returns the clusters of a chain as far as it is sound.
func (v *Volume) prefix(first uint32) []uint32 {
	var list []uint32
	for c := first; v.exists(c) && len(list) < int(v.end); c = v.next(c) {
		list = append(list, c)
	}
	return list
}

// release frees clusters that no entry has. When a folder cannot be read nothing is freed: clusters of a file in it might be among them.
func (v *Volume) release(list []uint32, wipe bool) error {
	u, err := v.usage()
	if err != nil {
		return err
	}
	slices.Sort(list)
	list = slices.DeleteFunc(slices.Compact(list), func(c uint32) bool { return u.used[c] })
	if wipe {
		for _, r := range v.runs(list) {
			if _, err := v.w.WriteAt(make([]byte, int64(r.n)*v.cluster), v.offset(r.first)); err != nil {
				return fmt.Errorf("overwrite %d clusters from %d on: %w", r.n, r.first, err)
			}
		}
	}
	if err := v.giveBack(list, true); err != nil {
		return err
	}
	return v.writeInfo()
}

// writeFolder writes the sectors of a folder that differ from those on the disk, and syncs.
func (v *Volume) writeFolder(d *directory) error {
	now, err := v.read(d.clusters)
	if err != nil {
		return err
	}
	changed := false
	for at := 0; at < len(d.b); at += sectorSize {
		s := d.b[at:][:sectorSize]
		if slices.Equal(s, now[at:][:sectorSize]) {
			continue
		}
		changed = true
		off := v.offset(d.clusters[at/int(v.cluster)]) + int64(at)%v.cluster
		if _, err := v.w.WriteAt(s, off); err != nil {
			return fmt.Errorf("write %s: %w", d.name, err)
		}
	}
	if !changed {
		return nil
	}
	return v.sync()
}

// Mkdir makes a folder and those above it that are not there. A folder that is there is left alone.
func (v *Volume) Mkdir(path string, now time.Time) error {
	if v.w == nil {
		return ErrReadOnly
	}
	list := elements(path)
	for i := range list {
		if err := v.mkdir(strings.Join(list[:i+1], "/"), now); err != nil {
			return fmt.Errorf("make folder %s: %w", path, err)
		}
	}
	return nil
}

func (v *Volume) mkdir(path string, now time.Time) error {
	d, name, err := v.parent(path)
	if err != nil {
		return err
	}
	switch e, err := d.find(name); {
	case err == nil && e.isDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s on the FAT partition is a file, expected a folder", path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	set, err := v.reserve(d, name, 1)
	if err != nil {
		return err
	}
	up := d.clusters[0]
	if up == v.root {
		up = 0
	}
	list, err := v.newFolder(up, now)
	if err != nil {
		return err
	}
	setEntry(set.short(), attrDir, list[0], 0, now)
	if err := v.publish(d, set); err != nil {
		return err
	}
	return v.writeInfo()
}

// newFolder writes a folder with nothing but "." and ".." in it, and its chain of one cluster, each synced.
func (v *Volume) newFolder(up uint32, now time.Time) (list []uint32, err error) {
	if list, err = v.take(1); err != nil {
		return nil, err
	}
	b := make([]byte, v.cluster)
	for i, first := range []uint32{list[0], up} {
		e := b[i*entrySize:][:entrySize]
		copy(e, ".."+"         ")
		if i == 0 {
			e[1] = ' '
		}
		setEntry(e, attrDir, first, 0, now)
	}
	if _, err := v.w.WriteAt(b, v.offset(list[0])); err != nil {
		return nil, errors.Join(fmt.Errorf("write cluster %d: %w", list[0], err), v.giveBack(list, false))
	}
	if err := v.sync(); err != nil {
		return nil, errors.Join(err, v.giveBack(list, false))
	}
	if err := v.writeTables(list); err != nil {
		return nil, errors.Join(err, v.giveBack(list, true))
	}
	return list, nil
}

// Link gives a file one more name, in a folder that is there: until Unlink of one of them both stand for the same clusters. The new
// name appears with the change of one byte. fs.ErrNotExist, fs.ErrExist, ErrFull before anything was changed.
func (v *Volume) Link(oldPath, newPath string) error {
	if v.w == nil {
		return ErrReadOnly
	}
	from, e, err := v.file(oldPath)
	if err != nil {
		return err
	}
	d, name, err := v.parent(newPath)
	if err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	if _, err := d.find(name); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &fs.PathError{Op: "link", Path: newPath, Err: fs.ErrExist})
	}
	set, err := v.reserve(d, name, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", newPath, err)
	}
	short := set.short()
	copy(short[11:], from.b[e.at+11:][:entrySize-11])
	short[12] = 0 // said how to show the short name
	if err := v.publish(d, set); err != nil {
		return fmt.Errorf("%s: %w", newPath, err)
	}
	return nil
}

// Remove removes a file, or a folder with all that is in it, and frees what no other name stands for.
// fs.ErrNotExist when there is none.
func (v *Volume) Remove(path string) error {
	if v.w == nil {
		return ErrReadOnly
	}
	d, e, err := v.lookup(path)
	if err != nil {
		return err
	}
	if err := v.unlink(d, []entry{e}, false); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// Rename gives a file another name: Link, and Remove of the old one. A power cut leaves one name or both.
func (v *Volume) Rename(oldPath, newPath string) error {
	if err := v.Link(oldPath, newPath); err != nil {
		return err
	}
	return v.Remove(oldPath)
}
