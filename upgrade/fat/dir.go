package fat

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// Attributes of a directory entry.
const (
	attrReadOnly = 0x01
	attrVolume   = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLong     = 0x0f
)

const (
	entryEnd  = 0x00 // first byte: this entry and all behind it are unused
	entryFree = 0xe5 // first byte: unused
)

// directory is a folder in memory.
type directory struct {
	name     string // for errors
	clusters []uint32
	b        []byte // their content
}

// entry is a file or folder of a directory: its short entry is at byte at, its long entries begin at byte from.
type entry struct {
	name     string
	from, at int
	attr     byte
	first    uint32 // cluster; 0 when the file is empty
	size     uint32 // bytes; 0 of folders
}

func (e entry) isDir() bool { return e.attr&attrDir != 0 }

// folder reads the folder that begins at a cluster; 0 is the root directory, as a folder's ".." has it.
func (v *Volume) folder(name string, first uint32) (*directory, error) {
	if first == 0 {
		name, first = "the root directory", v.root
	}
	clusters, err := v.chain(first, maxDirectory+v.cluster)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b, err := v.read(clusters)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &directory{name, clusters, b}, nil
}

// entries returns the files and folders, without the volume's label and the folder's own "." and "..".
func (d *directory) entries() []entry {
	out, _ := d.parse()
	return out
}

// parse also returns the bytes where long entries stand that belong to no short one: drivers ignore them.
func (d *directory) parse() (out []entry, orphans []int) {
	var long []uint16
	var pieces []int // where those of the name at hand are
	drop := func() {
		orphans = append(orphans, pieces...)
		long, pieces = nil, nil
	}
	le := binary.LittleEndian
	for at := 0; at+entrySize <= len(d.b); at += entrySize {
		e := d.b[at:][:entrySize]
		attr := e[11] & 0x3f
		switch {
		case e[0] == entryEnd:
			drop()
			return out, orphans
		case e[0] == entryFree:
			drop()
		case attr == attrLong: // a piece of a long name, the last one first
			order := int(e[0] & 0x3f)
			if e[0]&0x40 != 0 {
				drop()
			} else if n := len(pieces); n == 0 || order != int(d.b[pieces[n-1]]&0x3f)-1 || e[13] != d.b[pieces[n-1]+13] {
				drop()
				orphans = append(orphans, at)
				continue
			}
			if order == 0 {
				drop()
				orphans = append(orphans, at)
				continue
			}
			long, pieces = append(longUnits(e), long...), append(pieces, at)
		case attr&attrVolume != 0 || e[0] == '.':
			drop()
		default:
			x := entry{
				name: shortName(e), from: at, at: at, attr: attr, size: le.Uint32(e[28:]),
				first: (uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:]))) & clusterMask,
			}
			if n := len(pieces); n > 0 && d.b[pieces[n-1]]&0x3f == 1 && d.b[pieces[n-1]+13] == checksum(e[:11]) {
				for i, u := range long {
					if u == 0 {
						long = long[:i]
						break
					}
				}
				x.name, x.from = string(utf16.Decode(long)), pieces[0]
				long, pieces = nil, nil
			}
			drop()
			out = append(out, x)
		}
	}
	drop()
	return out, orphans
}

// find returns the first entry of a name. fs.ErrNotExist when there is none.
func (d *directory) find(name string) (entry, error) {
	for _, e := range d.entries() {
		if strings.EqualFold(e.name, name) {
			return e, nil
		}
	}
	return entry{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Where the 13 units of a long name entry stand.
var unitOffsets = [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

func longUnits(e []byte) []uint16 {
	u := make([]uint16, len(unitOffsets))
	for i, off := range unitOffsets {
		u[i] = binary.LittleEndian.Uint16(e[off:])
	}
	return u
}

func shortName(e []byte) string {
	name, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	// Two bits of Windows NT say that a part is meant in lower case.
	if e[12]&0x08 != 0 {
		name = strings.ToLower(name)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		name += "." + ext
	}
	return name
}

// checksum of a short name, which every entry of its long name repeats.
func checksum(short []byte) byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// checkName accepts what this package can make: names of letters, digits, "-", "_", "+" and
// dots inside, which every system shows as they are.
func checkName(name string) error {
	ok := name != "" && len(name) <= 100 && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".")
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.+", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("file name %q: want up to 100 letters, digits, \"-\", \"_\", \"+\" and dots", name)
	}
	return nil
}

// newEntries returns the entries of a new name: its long ones, the last part first, and
// the short one, whose fields are still zero.
func (d *directory) newEntries(name string) ([]byte, error) {
	short, err := d.freeShortName(name)
	if err != nil {
		return nil, err
	}
	units := utf16.Encode([]rune(name))
	count := (len(units) + len(unitOffsets) - 1) / len(unitOffsets)
	if len(units)%len(unitOffsets) != 0 {
		units = append(units, 0)
	}
	var out []byte
	for i := count - 1; i >= 0; i-- {
		var e [entrySize]byte
		e[0] = byte(i + 1)
		if i == count-1 {
			e[0] |= 0x40
		}
		e[11], e[13] = attrLong, checksum(short[:])
		for j, off := range unitOffsets {
			u := uint16(0xffff)
			if k := i*len(unitOffsets) + j; k < len(units) {
				u = units[k]
			}
			binary.LittleEndian.PutUint16(e[off:], u)
		}
		out = append(out, e[:]...)
	}
	var e [entrySize]byte
	copy(e[:], short[:])
	return append(out, e[:]...), nil
}

// freeShortName makes up a short name, such as KEELSO~1.YAM, that the directory does not have.
func (d *directory) freeShortName(name string) ([11]byte, error) {
	taken := map[[11]byte]bool{}
	for at := 0; at+entrySize <= len(d.b) && d.b[at] != entryEnd; at += entrySize {
		taken[[11]byte(d.b[at:])] = true
	}
	stem, ext := strings.ToUpper(name), ""
	if i := strings.LastIndexByte(stem, '.'); i > 0 {
		stem, ext = stem[:i], stem[i+1:]
	}
	stem = strings.NewReplacer(".", "", "+", "").Replace(stem)
	ext = strings.ReplaceAll(ext, "+", "")
	for n := 1; n < 10_000; n++ {
		tail := fmt.Sprintf("~%d", n)
		var short [11]byte
		copy(short[:], "           ")
		copy(short[:8], stem[:min(len(stem), 8-len(tail))]+tail)
		copy(short[8:], ext[:min(len(ext), 3)])
		if !taken[short] {
			return short, nil
		}
	}
	return [11]byte{}, fmt.Errorf("%s: no short name is left on the FAT partition", name)
}

// room returns the byte where n bytes of unused entries in a row begin; ok is false when
// the directory has to grow.
func (d *directory) room(n int) (at int, ok bool) {
	free := 0
	for at := 0; at+entrySize <= len(d.b); at += entrySize {
		if d.b[at] == entryEnd {
			// All from here on are unused.
			at -= free
			return at, at+n <= len(d.b)
		}
		if d.b[at] != entryFree {
			free = 0
			continue
		}
		if free += entrySize; free >= n {
			return at + entrySize - n, true
		}
	}
	return len(d.b) - free, false
}
