package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf16"
)

// fatFS reads the FAT32 file system of a boot partition. It only finds files by name: the
// builder's own package writes the file system, and this one shares nothing with it.
// Source: Microsoft FAT32 File System Specification 1.03, sections 3 to 7.
type fatFS struct {
	r        io.ReaderAt
	cluster  int64  // bytes
	table    int64  // byte where the first FAT is
	data     int64  // byte where cluster 2 is
	clusters uint32 // number of data clusters
	root     uint32 // first cluster of the root directory
}

// fatEntry is a file or a directory.
type fatEntry struct {
	name  string
	dir   bool
	first uint32 // cluster; 0 when empty
	size  uint32 // bytes; 0 for directories
}

// maxDirectory is the most bytes of a directory that are read: FAT allows 65536 entries of 32.
const maxDirectory = 2 << 20

func openFAT(r io.ReaderAt) (*fatFS, error) {
	var b [sector]byte
	if _, err := r.ReadAt(b[:], 0); err != nil {
		return nil, fmt.Errorf("read the FAT boot sector: %w", err)
	}
	le := binary.LittleEndian
	bytesPerSector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, fats := int64(le.Uint16(b[14:])), int64(b[16])
	total, perFAT := int64(le.Uint32(b[32:])), int64(le.Uint32(b[36:]))
	valid := b[510] == 0x55 && b[511] == 0xaa && bytesPerSector >= 512 && bytesPerSector <= 4096 &&
		perCluster > 0 && reserved > 0 && fats > 0 && perFAT > 0 && le.Uint16(b[17:]) == 0 && le.Uint16(b[22:]) == 0
	meta := reserved + fats*perFAT
	if !valid || total <= meta {
		return nil, errors.New("is no FAT32 file system")
	}
	f := &fatFS{
		r: r, cluster: bytesPerSector * perCluster, table: reserved * bytesPerSector, data: meta * bytesPerSector,
		clusters: uint32(min((total-meta)/perCluster, perFAT*bytesPerSector/4-2)), root: le.Uint32(b[44:]),
	}
	return f, nil
}

// next follows a chain; ok is false at its end.
func (f *fatFS) next(cluster uint32) (_ uint32, ok bool, err error) {
	var b [4]byte
	if _, err := f.r.ReadAt(b[:], f.table+4*int64(cluster)); err != nil {
		return 0, false, fmt.Errorf("read the FAT: %w", err)
	}
	n := binary.LittleEndian.Uint32(b[:]) & 0x0fffffff
	return n, n < 0x0ffffff8, nil
}

// copy writes the chain from a cluster on to w, at most size bytes. An error when the
// chain is shorter and whole is set, or leaves the volume.
func (f *fatFS) copy(w io.Writer, first uint32, size int64, whole bool) error {
	at, ok := first, first != 0
	for left := size; left > 0; {
		if !ok {
			if whole {
				return fmt.Errorf("%d bytes are missing: %w", left, io.ErrUnexpectedEOF)
			}
			return nil
		}
		if at < 2 || at-2 >= f.clusters {
			return fmt.Errorf("cluster %d is not one of the volume's %d", at, f.clusters)
		}
		n := min(left, f.cluster)
		if _, err := io.CopyN(w, io.NewSectionReader(f.r, f.data+int64(at-2)*f.cluster, n), n); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read cluster %d: %w", at, err)
		}
		left -= n
		var err error
		if at, ok, err = f.next(at); err != nil {
			return err
		}
	}
	return nil
}

// list returns the entries of a directory.
func (f *fatFS) list(first uint32) ([]fatEntry, error) {
	var buf bytes.Buffer
	if err := f.copy(&buf, first, maxDirectory, false); err != nil {
		return nil, err
	}
	var out []fatEntry
	var long []uint16
	le := binary.LittleEndian
	for e := range slices.Chunk(buf.Bytes(), 32) {
		attr := e[11]
		switch {
		case e[0] == 0: // the end
			return out, nil
		case e[0] == 0xe5: // free
			long = nil
		case attr&0x3f == 0x0f: // a piece of a long name, the last one first
			var piece []uint16
			for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
				piece = append(piece, le.Uint16(e[at:]))
			}
			if e[0]&0x40 != 0 {
				long = nil
			}
			long = append(piece, long...)
		case attr&0x08 != 0: // the volume's label
			long = nil
		default:
			x := fatEntry{
				name: strings.TrimRight(string(e[:8]), " "), dir: attr&0x10 != 0,
				first: uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:])), size: le.Uint32(e[28:]),
			}
			if ext := strings.TrimRight(string(e[8:11]), " "); ext != "" {
				x.name += "." + ext
			}
			if len(long) > 0 {
				for k, c := range long {
					if c == 0 {
						long = long[:k]
						break
					}
				}
				x.name = string(utf16.Decode(long))
			}
			long = nil
			out = append(out, x)
		}
	}
	return out, nil
}

// find looks a file or directory up, without regard to case. fs.ErrNotExist when it is not there.
func (f *fatFS) find(name string) (fatEntry, error) {
	at := fatEntry{dir: true, first: f.root}
	for part := range strings.SplitSeq(name, "/") {
		if !at.dir {
			return fatEntry{}, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
		}
		entries, err := f.list(at.first)
		if err != nil {
			return fatEntry{}, &fs.PathError{Op: "find", Path: name, Err: err}
		}
		found := false
		for _, e := range entries {
			if strings.EqualFold(e.name, part) {
				at, found = e, true
				break
			}
		}
		if !found {
			return fatEntry{}, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// has reports whether there is a file of that name.
func (f *fatFS) has(name string) (bool, error) {
	e, err := f.find(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && !e.dir, err
}

// extract copies a file to w.
func (f *fatFS) extract(w io.Writer, name string) error {
	e, err := f.find(name)
	if err != nil {
		return err
	}
	if e.dir {
		return &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	if err := f.copy(w, e.first, int64(e.size), true); err != nil {
		return &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return nil
}
