package disk

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// entries takes a folder's 32-byte entries apart. A long name that does not fit its short entry, by order or
// checksum, is dropped, as the specification demands of readers.
func entries(raw []byte) []entry {
	le := binary.LittleEndian
	var out []entry
	var long []uint16
	var sum byte
	want := 0 // order of the next long entry; 0: the short one
	for ; len(raw) >= 32; raw = raw[32:] {
		e := raw[:32]
		if e[0] == 0 {
			break
		}
		attr := e[11]
		if e[0] == 0xE5 {
			long, want = nil, 0
			continue
		}
		if attr&0x3F == 0x0F {
			order := int(e[0] & 0x3F)
			if e[0]&0x40 != 0 {
				long, want, sum = nil, order, e[13]
			}
			if order == 0 || order != want || e[13] != sum {
				long, want = nil, 0
				continue
			}
			var units []uint16
			for _, r := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
				for i := r[0]; i < r[1]; i += 2 {
					units = append(units, le.Uint16(e[i:]))
				}
			}
			long, want = append(units, long...), want-1
			continue
		}
		if attr&0x08 == 0 && e[0] != '.' {
			short := shortName(e)
			name := short
			if long != nil && want == 0 && sum == checksum(e[:11]) {
				for i, u := range long {
					if u == 0 {
						long = long[:i]
						break
					}
				}
				name = string(utf16.Decode(long))
			}
			out = append(out, entry{
				name: name, short: short, folder: attr&0x10 != 0, size: int64(le.Uint32(e[28:])),
				cluster: uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:])),
			})
		}
		long, want = nil, 0
	}
	return out
}

// shortName is the 8.3 name with its dot; byte 12 says which half is written small (Windows NT's rule).
func shortName(e []byte) string {
	half := func(b []byte, small bool) string {
		s := strings.TrimRight(string(b), " ")
		if small {
			s = strings.ToLower(s)
		}
		return s
	}
	name := half(e[:8], e[12]&0x08 != 0)
	if ext := half(e[8:11], e[12]&0x10 != 0); ext != "" {
		name += "." + ext
	}
	return name
}

// checksum binds long entries to their short one (specification, ChkSum).
func checksum(short []byte) byte {
	var s byte
	for _, c := range short {
		s = s>>1 | s<<7
		s += c
	}
	return s
}
