package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNameUnits is the length limit of a long name in UTF-16 code units.
const maxNameUnits = 255

// checkName refuses what FAT cannot hold or what Windows strips.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("name %q is not allowed", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return fmt.Errorf("name %q: FAT drops dots and spaces at the ends", name)
	case len(utf16.Encode([]rune(name))) > maxNameUnits:
		return fmt.Errorf("name %q is longer than %d UTF-16 units", name, maxNameUnits)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("name %q: %q is not allowed on FAT", name, r)
		}
	}
	return nil
}

// shortNameByte says whether c may stand in a short name. Lower case letters are not in
// the list: a name with them gets a long name entry.
func shortNameByte(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'()-@^_`{}~", c) >= 0
}

// shortNames gives out the 8.3 names of one directory.
type shortNames map[[11]byte]bool

// assign returns the short name for name, and whether a long name is needed beside it.
// The tail number depends only on the names assigned before, in order.
func (s shortNames) assign(name string) (short [11]byte, long bool, err error) {
	// An 8.3 name stays as it is; if it only lacks upper case, its long entry says so.
	// Either may be taken by the made-up short name of another file: get a tail, too.
	if short, ok := exactShortName(strings.ToUpper(name)); ok && !s[short] {
		s[short] = true
		return short, strings.ToUpper(name) != name, nil
	}
	base, ext := lossyShortName(name)
	for n := 1; n < 1_000_000; n++ {
		tail := fmt.Sprintf("~%d", n)
		short := pad83(base[:min(len(base), 8-len(tail))]+tail, ext)
		if !s[short] {
			s[short] = true
			return short, true, nil
		}
	}
	return short, false, fmt.Errorf("name %q: no short name left in its directory", name)
}

// exactShortName returns name as an 8.3 name if it is one in upper case.
func exactShortName(name string) ([11]byte, bool) {
	base, ext, dot := strings.Cut(name, ".")
	if len(base) == 0 || len(base) > 8 || len(ext) > 3 || dot && ext == "" {
		return [11]byte{}, false
	}
	for _, c := range []byte(base + ext) {
		if !shortNameByte(c) {
			return [11]byte{}, false
		}
	}
	return pad83(base, ext), true
}

// lossyShortName returns base (up to 6 bytes) and extension (up to 3) in upper case, with
// "_" for what a short name cannot hold.
func lossyShortName(name string) (base, ext string) {
	squeeze := func(s string, limit int) string {
		var b []byte
		for _, r := range strings.ToUpper(s) {
			switch {
			case r == ' ' || r == '.':
				continue
			case r < 0x80 && shortNameByte(byte(r)):
				b = append(b, byte(r))
			default:
				b = append(b, '_')
			}
			if len(b) == limit {
				break
			}
		}
		return string(b)
	}
	stem := name
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		stem, ext = name[:i], squeeze(name[i+1:], 3)
	}
	base = squeeze(stem, 6)
	if base == "" {
		base = "_"
	}
	return base, ext
}

// pad83 returns an 8.3 name as stored: two fields padded with spaces, no dot.
func pad83(base, ext string) [11]byte {
	var b [11]byte
	copy(b[:], "           ")
	copy(b[:8], base)
	copy(b[8:], ext)
	return b
}

// longEntries returns the directory entries of a long name, last part first, as they
// stand before the short entry.
func longEntries(name string, short [11]byte) []byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	units := utf16.Encode([]rune(name))
	count := (len(units) + 12) / 13
	if len(units)%13 != 0 {
		units = append(units, 0)
	}
	for len(units)%13 != 0 {
		units = append(units, 0xffff)
	}
	// Where the 13 units of an entry stand.
	offsets := [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
	var out []byte
	for i := count - 1; i >= 0; i-- {
		var e [entrySize]byte
		e[0] = byte(i + 1)
		if i == count-1 {
			e[0] |= 0x40
		}
		e[11] = attrLongName
		e[13] = sum
		for j, off := range offsets {
			binary.LittleEndian.PutUint16(e[off:], units[i*13+j])
		}
		out = append(out, e[:]...)
	}
	return out
}
