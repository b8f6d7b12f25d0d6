package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// ReadFile returns the content of a file of the root directory. fs.ErrNotExist when there
// is none of that name.
func (v *Volume) ReadFile(name string) ([]byte, error) {
	d, err := v.directory()
	if err != nil {
		return nil, err
	}
	e, err := d.find(name)
	if err != nil {
		return nil, err
	}
	if e.size > MaxFile {
		return nil, fmt.Errorf("%s on the FAT partition has %d bytes, at most %d are read", name, e.size, MaxFile)
	}
	clusters, err := v.clusters(e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b, err := v.read(clusters)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) < int(e.size) {
		return nil, fmt.Errorf("%s: %w: %d bytes in clusters, want %d", name, ErrFormat, len(b), e.size)
	}
	return b[:e.size], nil
}

// clusters returns those of a file; they may hold more than its size.
func (v *Volume) clusters(e entry) ([]uint32, error) {
	if e.first == 0 {
		return nil, nil
	}
	return v.chain(e.first, int64(e.size)+MaxFile)
}

// WriteFile makes a file of the root directory or replaces its content, and returns when
// that is on the medium. now is the file's time, written as it is there: FAT has no zone.
// Errors: ErrFull before anything was changed, ErrReadOnly, ErrFormat, those of the disk.
func (v *Volume) WriteFile(name string, content []byte, now time.Time) error {
	if v.w == nil {
		return ErrReadOnly
	}
	if err := checkName(name); err != nil {
		return err
	}
	if len(content) > MaxFile {
		return fmt.Errorf("%s: %d bytes, at most %d are written", name, len(content), MaxFile)
	}
	d, err := v.directory()
	if err != nil {
		return err
	}
	e, err := d.find(name)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var old []uint32
	if exists {
		if old, err = v.clusters(e); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}

	first, err := v.store(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	at := e.at
	if !exists {
		entries, err := d.newEntries(name)
		if err != nil {
			return err
		}
		var ok bool
		if at, ok = d.room(len(entries)); !ok {
			if err := v.grow(d); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		end := at + len(entries)
		ended := false
		for k := at; k < end; k += entrySize {
			ended = ended || d.b[k] == entryEnd
		}
		copy(d.b[at:], entries)
		if ended && end < len(d.b) {
			d.b[end] = entryEnd // what lies behind the old end may be anything
		}
		at = end - entrySize
	}
	setEntry(d.b[at:][:entrySize], first, uint32(len(content)), now)
	if err := v.writeDirectory(d); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return v.release(name, old)
}

// setEntry fills in the fields of a short entry.
func setEntry(e []byte, first, size uint32, now time.Time) {
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
	e[11] = e[11]&^attrReadOnly | attrArchive
	le.PutUint16(e[18:], day) // read
	le.PutUint16(e[20:], uint16(first>>16))
	le.PutUint16(e[22:], clock) // written
	le.PutUint16(e[24:], day)
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], size)
}

// take finds n free clusters and chains them up in memory. ErrFull: nothing was changed.
func (v *Volume) take(n int) ([]uint32, error) {
	var list []uint32
	for c := uint32(2); c < v.end && len(list) < n; c++ {
		if v.next(c) == 0 {
			list = append(list, c)
		}
	}
	if len(list) < n {
		return nil, fmt.Errorf("%w: it has %d bytes free, %d are needed", ErrFull, int64(len(list))*v.cluster, int64(n)*v.cluster)
	}
	for i, c := range list {
		value := uint32(clusterMask) // the end
		if i+1 < len(list) {
			value = list[i+1]
		}
		v.set(c, value)
	}
	return list, nil
}

// store writes content into free clusters with their chain, syncs, and returns the first;
// 0 for no content.
func (v *Volume) store(content []byte) (uint32, error) {
	n := int((int64(len(content)) + v.cluster - 1) / v.cluster)
	if n == 0 {
		return 0, nil
	}
	list, err := v.take(n)
	if err != nil {
		return 0, err
	}
	padded := make([]byte, int64(n)*v.cluster)
	copy(padded, content)
	for i, c := range list {
		if _, err := v.w.WriteAt(padded[int64(i)*v.cluster:][:v.cluster], v.offset(c)); err != nil {
			return 0, fmt.Errorf("write cluster %d: %w", c, err)
		}
	}
	return list[0], v.writeTables(list)
}

// grow adds one empty cluster to the directory.
func (v *Volume) grow(d *directory) error {
	if int64(len(d.b))+v.cluster > maxDirectory {
		return fmt.Errorf("%w: its root directory has no room for one more name", ErrFull)
	}
	list, err := v.take(1)
	if err != nil {
		return err
	}
	if _, err := v.w.WriteAt(make([]byte, v.cluster), v.offset(list[0])); err != nil {
		return fmt.Errorf("write cluster %d: %w", list[0], err)
	}
	last := d.clusters[len(d.clusters)-1]
	v.set(last, list[0])
	d.clusters = append(d.clusters, list[0])
	d.b = append(d.b, make([]byte, v.cluster)...)
	return v.writeTables([]uint32{last, list[0]})
}

// writeDirectory writes the sectors of the directory that differ from those on the disk.
// They are written from the last to the first: the short entry of a file, which is its
// last, is there before its long name appears.
func (v *Volume) writeDirectory(d *directory) error {
	now, err := v.read(d.clusters)
	if err != nil {
		return err
	}
	for at := len(d.b) - sectorSize; at >= 0; at -= sectorSize {
		if s := d.b[at:][:sectorSize]; !slices.Equal(s, now[at:][:sectorSize]) {
			off := v.offset(d.clusters[at/int(v.cluster)]) + int64(at)%v.cluster
			if _, err := v.w.WriteAt(s, off); err != nil {
				return fmt.Errorf("write the root directory: %w", err)
			}
		}
	}
	return v.sync()
}

// release overwrites clusters with zeros, as they may have held keys, and frees them.
func (v *Volume) release(name string, old []uint32) error {
	zeros := make([]byte, v.cluster)
	for _, c := range old {
		if _, err := v.w.WriteAt(zeros, v.offset(c)); err != nil {
			return fmt.Errorf("%s: overwrite cluster %d: %w", name, c, err)
		}
		v.set(c, 0)
	}
	if err := v.writeTables(old); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return v.writeInfo()
}

// writeTables writes the sectors of every FAT that hold these clusters' entries, and syncs.
func (v *Volume) writeTables(clusters []uint32) error {
	var sectors []int64
	for _, c := range clusters {
		sectors = append(sectors, int64(c)*4/sectorSize)
	}
	slices.Sort(sectors)
	for _, s := range slices.Compact(sectors) {
		for i := range v.tables {
			if _, err := v.w.WriteAt(v.table[s*sectorSize:][:sectorSize], v.tableAt+int64(i)*v.tableLen+s*sectorSize); err != nil {
				return fmt.Errorf("write FAT %d: %w", i+1, err)
			}
		}
	}
	return v.sync()
}

// writeInfo updates the count of free clusters, which is a hint that checkers compare.
func (v *Volume) writeInfo() error {
	if v.infoAt == 0 {
		return nil
	}
	s := make([]byte, sectorSize)
	if err := readFull(v.r, s, v.infoAt); err != nil {
		return fmt.Errorf("read the FSInfo sector: %w", err)
	}
	free, first := uint32(0), uint32(0xffffffff)
	for c := v.end - 1; c >= 2; c-- {
		if v.next(c) == 0 {
			free++
			first = c
		}
	}
	binary.LittleEndian.PutUint32(s[488:], free)
	binary.LittleEndian.PutUint32(s[492:], first)
	if _, err := v.w.WriteAt(s, v.infoAt); err != nil {
		return fmt.Errorf("write the FSInfo sector: %w", err)
	}
	return v.sync()
}

func (v *Volume) sync() error {
	if err := v.w.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
