package uboot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Where Keelson keeps the boot state: a MiB at byte 15 MiB of every disk.
const (
	StateOffset  = 15 * mib
	BlockSize    = 0x1000
	TrialOffset  = StateOffset + BlockSize // the only place that a boot script writes to
	TrialSectors = BlockSize / 512
)

// EnvBlock is a block as "env import -c" takes it: a little-endian CRC32 of what follows, NAME=VALUE strings that end
// with a zero byte, one more zero byte, zeros up to size. It is for tests that play the operating system's part.
func EnvBlock(vars map[string]string, size int) ([]byte, error) {
	var data []byte
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		data = append(data, k+"="+escape(vars[k], 0)+"\x00"...)
	}
	if len(data)+5 > size {
		return nil, fmt.Errorf("environment of %d bytes in a block of %d", len(data)+5, size)
	}
	block := make([]byte, size)
	copy(block[4:], data)
	binary.LittleEndian.PutUint32(block, crc32.ChecksumIEEE(block[4:]))
	return block, nil
}

// ErrBlock means that a block is not as its CRC32 says: nobody wrote it, or a write of it was cut short.
var ErrBlock = errors.New("no environment block")

// ParseBlock reads a block as "env import -c" does. Errors: ErrBlock.
func ParseBlock(block []byte) (map[string]string, error) {
	if len(block) < 5 || crc32.ChecksumIEEE(block[4:]) != binary.LittleEndian.Uint32(block) {
		return nil, ErrBlock
	}
	set, _, err := imported(block[4:], 0)
	return set, err
}

// escape is what hexport_r does to values.
func escape(v string, sep byte) string {
	var b strings.Builder
	for i := range len(v) {
		if v[i] == '\\' || v[i] == sep {
			b.WriteByte('\\')
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

// imported is himport_r: what a text sets, and which variables an empty value deletes. sep is '\n' or 0.
func imported(data []byte, sep byte) (set map[string]string, deleted []string, err error) {
	set = map[string]string{}
	s := string(data)
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == 0 {
			return set, deleted, nil
		}
		n := strings.IndexFunc(s, func(r rune) bool { return r == rune(sep) || r == 0 })
		if s[0] == '#' {
			if n < 0 {
				return set, deleted, nil
			}
			s = s[n+1:]
			continue
		}
		eq := strings.IndexByte(s, '=')
		if eq < 0 || n >= 0 && n < eq {
			eq = -1
		}
		if eq < 0 || eq+1 == len(s) || s[eq+1] == 0 || s[eq+1] == sep {
			name := s
			if n >= 0 {
				name = s[:n]
			}
			if eq >= 0 {
				name = s[:eq]
			}
			deleted = append(deleted, name)
			delete(set, name)
			if n < 0 {
				return set, deleted, nil
			}
			s = s[n+1:]
			continue
		}
		name := s[:eq]
		if name == "" {
			return set, deleted, errors.New("a variable without a name")
		}
		var v strings.Builder
		i := eq + 1
		for ; i < len(s) && s[i] != 0 && s[i] != sep; i++ {
			if s[i] == '\\' && i+1 < len(s) && s[i+1] != 0 {
				i++
			}
			v.WriteByte(s[i])
		}
		set[name] = v.String()
		if i >= len(s) {
			return set, deleted, nil
		}
		s = s[i+1:]
	}
}

func hex(n uint64) string { return strconv.FormatUint(n, 16) }

// number reads what hextoul reads: hexadecimal with or without 0x.
func number(s string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no hexadecimal number", s)
	}
	return n, nil
}
