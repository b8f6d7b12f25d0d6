package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"
)

// ReadFile returns the content of a file of at most MaxFile bytes. fs.ErrNotExist when there
// is none of that name.
func (v *Volume) ReadFile(path string) ([]byte, error) {
	f, err := v.OpenFile(path)
	if err != nil {
		return nil, err
	}
	if f.size > MaxFile {
		return nil, fmt.Errorf("%s on the FAT partition has %d bytes, at most %d are read", path, f.size, MaxFile)
	}
	b := make([]byte, f.size)
	if _, err := f.ReadAt(b, 0); err != nil && (len(b) > 0 || !errors.Is(err, io.EOF)) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// File is a file open for reading. It reads the clusters that it had when it was opened.
type File struct {
	v        *Volume
	clusters []uint32
	size     int64
}

// OpenFile opens a file. fs.ErrNotExist; ErrFormat when its clusters are fewer than its size needs.
func (v *Volume) OpenFile(path string) (*File, error) {
	_, e, err := v.file(path)
	if err != nil {
		return nil, err
	}
	clusters, err := v.clusters(e)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(clusters))*v.cluster < int64(e.size) {
		return nil, fmt.Errorf("%s: %w: %d bytes in clusters, want %d", path, ErrFormat, int64(len(clusters))*v.cluster, e.size)
	}
	return &File{v, clusters, int64(e.size)}, nil
}

// Size returns the file's size in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt implements io.ReaderAt. It may be used by several goroutines if the volume's disk may.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: fmt.Sprintf("byte %d", off), Err: fs.ErrInvalid}
	}
	if off >= f.size {
		return 0, io.EOF
	}
	var eof error
	if left := f.size - off; int64(len(p)) > left {
		p, eof = p[:left], io.EOF
	}
	n := 0
	for n < len(p) {
		i, within := int((off+int64(n))/f.v.cluster), (off+int64(n))%f.v.cluster
		// As many clusters at once as lie together.
		have := f.v.cluster - within
		for j := i + 1; have < int64(len(p)-n) && j < len(f.clusters) && f.clusters[j] == f.clusters[j-1]+1; j++ {
			have += f.v.cluster
		}
		piece := p[n:][:min(have, int64(len(p)-n))]
		if err := readFull(f.v.r, piece, f.v.offset(f.clusters[i])+within); err != nil {
			return n, fmt.Errorf("read cluster %d: %w", f.clusters[i], err)
		}
		n += len(piece)
	}
	return n, eof
}

// clusters returns those of a file; they may hold more than its size.
func (v *Volume) clusters(e entry) ([]uint32, error) {
	if e.first == 0 {
		return nil, nil
	}
	return v.chain(e.first, int64(e.size)+MaxFile)
}

// WriteFile makes a file or replaces its content, and returns when that is on the medium. The old content is overwritten with
// zeros, as it may have held keys. now is the file's time, written as it is there: FAT has no zone.
// Errors: ErrFull before anything was changed, ErrReadOnly, ErrFormat, fs.ErrNotExist without its folder, those of the disk.
func (v *Volume) WriteFile(path string, content []byte, now time.Time) error {
	if len(content) > MaxFile {
		return fmt.Errorf("%s: %d bytes, at most %d are written", path, len(content), MaxFile)
	}
	return v.put(path, int64(len(content)), bytes.NewReader(content), now, true)
}

// Create makes a file or replaces it, with the size bytes of r, and returns when that is on the medium.
// Errors: those of WriteFile; io.ErrUnexpectedEOF when r has less, and r's own, before anything is seen of the file.
func (v *Volume) Create(path string, size int64, r io.Reader, now time.Time) error {
	if size < 0 || size > 1<<32-1 {
		return fmt.Errorf("%s: %d bytes: FAT has files of less than 4 GiB", path, size)
	}
	return v.put(path, size, r, now, false)
}

func (v *Volume) put(path string, size int64, r io.Reader, now time.Time, wipe bool) error {
	if v.w == nil {
		return ErrReadOnly
	}
	d, name, err := v.parent(path)
	if err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	var old []entry
	for _, e := range d.entries() {
		if !equalNames(e.name, name) {
			continue
		}
		if e.isDir() {
			return fmt.Errorf("%s on the FAT partition is a folder, expected a file", path)
		}
		old = append(old, e)
	}
	n := int((size + v.cluster - 1) / v.cluster)
	set, err := v.reserve(d, name, n)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	list, err := v.store(n, size, r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	first := uint32(0)
	if n > 0 {
		first = list[0]
	}
	short := set.short()
	if len(old) > 0 {
		copy(short[12:18], d.b[old[0].at+12:][:6]) // when it was made
		short[12] = 0                              // those of a short name alone
		short[11] = d.b[old[0].at+11]
	}
	setEntry(short, attrArchive, first, uint32(size), now)
	if err := v.publish(d, set); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := v.unlink(d, old, wipe); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// store writes content into n free clusters and then their chain, each synced. When anything fails nothing is taken.
func (v *Volume) store(n int, size int64, r io.Reader) (list []uint32, err error) {
	if n == 0 {
		return nil, nil
	}
	if list, err = v.take(n); err != nil {
		return nil, err
	}
	chained, taken := false, list // a return with an error clears list
	defer func() {
		if err != nil {
			err = errors.Join(err, v.giveBack(taken, chained))
		}
	}()
	left := size
	for _, p := range v.runs(list) {
		b := make([]byte, int64(p.n)*v.cluster)
		want := min(left, int64(len(b)))
		if _, err := io.ReadFull(r, b[:want]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("content, %d of %d bytes left: %w", left, size, err)
		}
		left -= want
		if _, err := v.w.WriteAt(b, v.offset(p.first)); err != nil {
			return nil, fmt.Errorf("write %d clusters from %d on: %w", p.n, p.first, err)
		}
	}
	if err := v.sync(); err != nil {
		return nil, err
	}
	chained = true
	return list, v.writeTables(list)
}

// Overwrite writes over a part of a file in place: bytes that lie in one sector of the disk, so that a power cut leaves
// a mixture of old and new bytes of that sector at worst. It returns when they are on the medium.
func (v *Volume) Overwrite(path string, off int64, b []byte) error {
	if v.w == nil {
		return ErrReadOnly
	}
	f, err := v.OpenFile(path)
	if err != nil {
		return err
	}
	within := off % sectorSize
	if off < 0 || off+int64(len(b)) > f.size || within+int64(len(b)) > sectorSize {
		return fmt.Errorf("%s: overwrite bytes [%d, %d) of %d: want a part of one sector of %d bytes", path, off, off+int64(len(b)), f.size, sectorSize)
	}
	at := v.offset(f.clusters[off/v.cluster]) + off%v.cluster - within
	s := make([]byte, sectorSize)
	if err := readFull(v.r, s, at); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	copy(s[within:], b)
	if _, err := v.w.WriteAt(s, at); err != nil {
		return fmt.Errorf("%s: overwrite: %w", path, err)
	}
	return v.sync()
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
		return nil, v.full(len(list), n)
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

func (v *Volume) full(have, need int) error {
	return fmt.Errorf("%w: it has %d bytes free, %d are needed", ErrFull, int64(have)*v.cluster, int64(need)*v.cluster)
}

// giveBack frees clusters that nothing points to.
func (v *Volume) giveBack(list []uint32, written bool) error {
	for _, c := range list {
		v.set(c, 0)
	}
	if !written {
		return nil
	}
	return v.writeTables(list)
}

// Free returns the bytes that are free for the content of files.
func (v *Volume) Free() int64 {
	free, _ := v.count()
	return int64(free) * v.cluster
}

// count returns how many clusters are free, and the first of them.
func (v *Volume) count() (free, first uint32) {
	first = 0xffffffff
	for c := v.end - 1; c >= 2; c-- {
		if v.next(c) == 0 {
			free++
			first = c
		}
	}
	return free, first
}

// writeTables writes the sectors of every FAT that hold these clusters' entries, and syncs.
func (v *Volume) writeTables(clusters []uint32) error {
	if len(clusters) == 0 {
		return nil
	}
	var sectors []int64
	for _, c := range clusters {
		sectors = append(sectors, int64(c)*4/sectorSize)
	}
	slices.Sort(sectors)
	sectors = slices.Compact(sectors)
	for i := range v.tables {
		for _, s := range sectors {
			if _, err := v.w.WriteAt(v.table[s*sectorSize:][:sectorSize], v.tableAt+int64(i)*v.tableLen+s*sectorSize); err != nil {
				return fmt.Errorf("write FAT %d: %w", i+1, err)
			}
		}
	}
	return v.sync()
}

func (v *Volume) sync() error {
	if err := v.w.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
