package disk

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf16"
)

// Rename gives a file of a FAT32 volume in the partition p another name in its folder, as EDK2's driver does: it marks the old
// entries as deleted and makes new ones where there is room in the folder's clusters, with the same content, size and times.
// Source: EDK2, FatPkg/EnhancedFatDxe, Info.c (FatSetFileInfo) and DirectoryManage.c (FatRemoveDirEnt, FatCreateDirEnt).
func Rename(d interface {
	io.ReaderAt
	io.WriterAt
}, p Partition, file, to string) error {
	f, err := OpenFAT(d, p)
	if err != nil {
		return err
	}
	dir, err := f.find(path.Dir(file))
	if err != nil {
		return err
	}
	first := dir.cluster
	if first == 0 {
		first = f.root
	}
	raw, err := f.chain(first, -1)
	if err != nil {
		return err
	}
	old, from, err := locate(raw, path.Base(file))
	if err != nil {
		return err
	}
	var short [32]byte
	copy(short[:], raw[old:])
	for at := from; at <= old; at += 32 {
		raw[at] = 0xE5
	}
	copy(short[:11], fmt.Sprintf("KL%06dEFI", binary.LittleEndian.Uint16(short[26:])))
	set := append(longEntries(to, checksum(short[:11])), short[:]...)
	at, err := room(raw, len(set))
	if err != nil {
		return err
	}
	copy(raw[at:], set)
	for c, ok := first, true; ok; {
		n := min(int64(len(raw)), f.cluster)
		if _, err := d.WriteAt(raw[:n], p.Start+f.data+int64(c-2)*f.cluster); err != nil {
			return err
		}
		raw = raw[n:]
		if c, ok, err = f.next(c); err != nil {
			return err
		}
	}
	return nil
}

// locate returns the byte of a name's short entry in a folder, and that of its first long one.
func locate(raw []byte, name string) (short, from int, err error) {
	from = -1
	for at := 0; at+32 <= len(raw) && raw[at] != 0; at += 32 {
		switch {
		case raw[at] != 0xE5 && raw[at+11]&0x3F == 0x0F:
			if from < 0 || raw[at]&0x40 != 0 {
				from = at
			}
			continue
		case raw[at] != 0xE5:
			if from < 0 {
				from = at
			}
			if e := entries(raw[from : at+32]); len(e) == 1 && strings.EqualFold(e[0].name, name) {
				return at, from, nil
			}
		}
		from = -1
	}
	return 0, 0, &fs.PathError{Op: "rename", Path: name, Err: fs.ErrNotExist}
}

// room returns where a folder has n bytes of unused entries in a row.
func room(raw []byte, n int) (int, error) {
	free, ended := 0, false
	for at := 0; at+32 <= len(raw); at += 32 {
		ended = ended || raw[at] == 0
		if !ended && raw[at] != 0xE5 {
			free = 0
			continue
		}
		if free += 32; free == n {
			return at + 32 - n, nil
		}
	}
	return 0, fmt.Errorf("no room for %d bytes of entries in a folder of %d", n, len(raw))
}

// longEntries are a name's long entries, the last part first (specification, section 7).
func longEntries(name string, sum byte) []byte {
	units := utf16.Encode([]rune(name))
	count := (len(units) + 12) / 13
	if len(units)%13 != 0 {
		units = append(units, 0)
	}
	for len(units) < 13*count {
		units = append(units, 0xFFFF)
	}
	var out []byte
	for i := count - 1; i >= 0; i-- {
		e := make([]byte, 32)
		e[0], e[11], e[13] = byte(i+1), 0x0F, sum
		if i == count-1 {
			e[0] |= 0x40
		}
		part := units[13*i:]
		for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
			for k := r[0]; k < r[1]; k += 2 {
				binary.LittleEndian.PutUint16(e[k:], part[0])
				part = part[1:]
			}
		}
		out = append(out, e...)
	}
	return out
}
