package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrNotPE is returned for a stub or kernel that is not a well-formed PE32+ file.
var ErrNotPE = errors.New("not a PE32+ file")

// Offsets and sizes of PE32+ headers, bytes.
const (
	coffHeaderSize     = 20
	optionalHeaderMin  = 112 // up to the data directories
	sectionHeaderSize  = 40
	checksumAt         = 64 // in the optional header
	sizeOfImageAt      = 56
	sizeOfHeadersAt    = 60
	sizeOfInitDataAt   = 8
	sectionAlignmentAt = 32
	fileAlignmentAt    = 36
	directoryCountAt   = 108
	certificateEntry   = 4 // data directory of the Authenticode signature
)

// section is one entry of the section table. Ranges are half-open.
type section struct {
	name            string
	virtualAddress  uint32
	virtualSize     uint32
	rawAt           uint32
	rawSize         uint32
	characteristics uint32
}

// image is a parsed PE header; offsets are into the file.
type image struct {
	coff             int // COFF header
	optional         int // optional header
	sectionTable     int
	sections         []section
	sectionAlignment uint32
	fileAlignment    uint32
	sizeOfImage      uint32
	sizeOfHeaders    uint32
	machine          uint16
	directories      int // number of data directories
}

// parse reads the headers of a PE32+ file and checks that every range lies in the file.
// Errors wrap ErrNotPE.
func parse(b []byte) (*image, error) {
	bad := func(format string, args ...any) (*image, error) {
		return nil, fmt.Errorf("%w: %s", ErrNotPE, fmt.Sprintf(format, args...))
	}
	le := binary.LittleEndian
	if len(b) < 64 || b[0] != 'M' || b[1] != 'Z' {
		return bad("no MZ header in %d bytes", len(b))
	}
	pe := int64(le.Uint32(b[0x3c:]))
	if pe+4+coffHeaderSize+optionalHeaderMin > int64(len(b)) {
		return bad("PE header at %d is behind the end, %d", pe, len(b))
	}
	if string(b[pe:pe+4]) != "PE\x00\x00" {
		return bad("no PE signature at %d", pe)
	}
	m := &image{coff: int(pe) + 4}
	m.optional = m.coff + coffHeaderSize
	m.machine = le.Uint16(b[m.coff:])
	count := int(le.Uint16(b[m.coff+2:]))
	optionalSize := int(le.Uint16(b[m.coff+16:]))
	if optionalSize < optionalHeaderMin || m.optional+optionalSize > len(b) {
		return bad("optional header of %d bytes at %d", optionalSize, m.optional)
	}
	opt := b[m.optional : m.optional+optionalSize]
	if magic := le.Uint16(opt); magic != 0x20b {
		return bad("optional header magic %#x, want 0x20b", magic)
	}
	m.sectionAlignment = le.Uint32(opt[sectionAlignmentAt:])
	m.fileAlignment = le.Uint32(opt[fileAlignmentAt:])
	m.sizeOfImage = le.Uint32(opt[sizeOfImageAt:])
	m.sizeOfHeaders = le.Uint32(opt[sizeOfHeadersAt:])
	for _, a := range []uint32{m.sectionAlignment, m.fileAlignment} {
		if a == 0 || a&(a-1) != 0 || a > 1<<20 {
			return bad("alignment %d", a)
		}
	}
	directories := le.Uint32(opt[directoryCountAt:])
	if directories > uint32(optionalSize-optionalHeaderMin)/8 {
		return bad("%d data directories in an optional header of %d bytes", directories, optionalSize)
	}
	m.directories = int(directories)
	m.sectionTable = m.optional + optionalSize
	if m.sectionTable+count*sectionHeaderSize > len(b) {
		return bad("%d sections at %d do not fit in %d bytes", count, m.sectionTable, len(b))
	}
	for i := range count {
		h := b[m.sectionTable+i*sectionHeaderSize:][:sectionHeaderSize]
		s := section{
			name:            cString(h[:8]),
			virtualSize:     le.Uint32(h[8:]),
			virtualAddress:  le.Uint32(h[12:]),
			rawSize:         le.Uint32(h[16:]),
			rawAt:           le.Uint32(h[20:]),
			characteristics: le.Uint32(h[36:]),
		}
		if uint64(s.rawAt)+uint64(s.rawSize) > uint64(len(b)) {
			return bad("section %q: bytes [%d, %d) of %d", s.name, s.rawAt, uint64(s.rawAt)+uint64(s.rawSize), len(b))
		}
		if uint64(s.virtualAddress)+uint64(s.virtualSize) > uint64(m.sizeOfImage) {
			return bad("section %q: addresses up to %#x, SizeOfImage is %#x", s.name, uint64(s.virtualAddress)+uint64(s.virtualSize), m.sizeOfImage)
		}
		m.sections = append(m.sections, s)
	}
	return m, nil
}

// cString returns b up to its first zero byte.
func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// put writes the section's header at h, 40 bytes.
func (s section) put(h []byte) {
	le := binary.LittleEndian
	clear(h[:sectionHeaderSize])
	copy(h[:8], s.name)
	le.PutUint32(h[8:], s.virtualSize)
	le.PutUint32(h[12:], s.virtualAddress)
	le.PutUint32(h[16:], s.rawSize)
	le.PutUint32(h[20:], s.rawAt)
	le.PutUint32(h[36:], s.characteristics)
}

// checksum returns the PE checksum: the one's complement sum of all 16-bit words but the
// checksum field itself, plus the file's length. at is the field's even offset.
// Source: Microsoft PE format, "CheckSum"; the algorithm is that of IMAGHELP.
func checksum(b []byte, at int) uint32 {
	var sum uint64
	add := func(p []byte) {
		for len(p) >= 2 {
			sum += uint64(p[0]) | uint64(p[1])<<8
			p = p[2:]
		}
		if len(p) == 1 {
			sum += uint64(p[0])
		}
	}
	add(b[:at])
	add(b[at+4:])
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint32(sum) + uint32(len(b))
}
