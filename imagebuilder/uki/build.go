package uki

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// ErrNoHeaderRoom is returned when the stub's section table has no room for our sections.
// Use another stub: systemd's leave room for them.
var ErrNoHeaderRoom = errors.New("no room in the stub's section table")

// Parts is what goes into a UKI.
type Parts struct {
	Stub      []byte // systemd's linux*.efi.stub
	OSRelease []byte
	Cmdline   string // kernel command line, one line, no NUL
	Uname     string // kernel release
	Initrd    []byte
	Linux     []byte // a kernel with its own EFI stub (bzImage), a PE file
}

// readOnlyData is IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ.
const readOnlyData = 0x40000040

// Build returns the UKI as one PE file. Equal parts give equal bytes.
// Errors: ErrNotPE for a stub or kernel that is not PE32+, ErrNoHeaderRoom.
func Build(p Parts) ([]byte, error) {
	stub, err := parse(p.Stub)
	if err != nil {
		return nil, fmt.Errorf("uki: stub: %w", err)
	}
	kernel, err := parse(p.Linux)
	if err != nil {
		return nil, fmt.Errorf("uki: kernel: %w (a kernel with CONFIG_EFI_STUB is needed)", err)
	}
	if kernel.machine != stub.machine {
		return nil, fmt.Errorf("uki: kernel is for PE machine %#x, stub for %#x: they must be of one architecture", kernel.machine, stub.machine)
	}
	if strings.ContainsAny(p.Cmdline, "\x00\n") {
		return nil, fmt.Errorf("uki: kernel command line %q: has a line break or NUL", p.Cmdline)
	}
	return appendSections(p.Stub, stub, []content{
		{".osrel", p.OSRelease, 0},
		{".cmdline", []byte(p.Cmdline), 0},
		{".uname", []byte(p.Uname), 0},
		{".initrd", p.Initrd, 0},
		// The kernel's memory behind its file content, if it wants some, lies in
		// the UKI's own memory: ukify does the same.
		{".linux", p.Linux, kernel.sizeOfImage},
	})
}

// content is a section to append: its memory is the larger of its data and memory bytes.
type content struct {
	name   string
	data   []byte
	memory uint32
}

// appendSections returns the stub with the sections behind its own.
func appendSections(stub []byte, m *image, contents []content) ([]byte, error) {
	// Headers must not grow into the first section's bytes, in the file or in memory.
	limit := uint64(m.sizeOfHeaders)
	nextVirtual := uint64(m.sizeOfHeaders)
	size := uint64(len(stub))
	for _, s := range m.sections {
		if s.rawSize > 0 {
			limit = min(limit, uint64(s.rawAt))
		}
		nextVirtual = max(nextVirtual, uint64(s.virtualAddress)+uint64(s.virtualSize))
		for _, c := range contents {
			if s.name == c.name {
				return nil, fmt.Errorf("uki: stub already has a section %s", c.name)
			}
		}
	}
	need := uint64(m.sectionTable + (len(m.sections)+len(contents))*sectionHeaderSize)
	if need > limit {
		return nil, fmt.Errorf("uki: %w: %d bytes needed, %d there", ErrNoHeaderRoom, need, limit)
	}

	// Pages of memory protection: a section of its own page even where the stub's
	// alignment is smaller (Debian 12's is 512).
	virtualAlign := uint64(max(m.sectionAlignment, 4096))
	var added []section
	var initialized uint64
	for _, c := range contents {
		raw := align(size, uint64(m.fileAlignment))
		virtual := align(nextVirtual, virtualAlign)
		rawSize := align(uint64(len(c.data)), uint64(m.fileAlignment))
		memory := max(uint64(len(c.data)), uint64(c.memory))
		if raw+rawSize > math.MaxInt32 || virtual+memory > math.MaxInt32 {
			return nil, fmt.Errorf("uki: section %s of %d bytes ends above 2 GiB, the limit of the format", c.name, len(c.data))
		}
		added = append(added, section{
			name:            c.name,
			virtualAddress:  uint32(virtual),
			virtualSize:     uint32(memory),
			rawAt:           uint32(raw),
			rawSize:         uint32(rawSize),
			characteristics: readOnlyData,
		})
		size, nextVirtual = raw+rawSize, virtual+memory
		initialized += rawSize
	}

	out := make([]byte, size)
	copy(out, stub)
	le := binary.LittleEndian
	for i, s := range added {
		s.put(out[m.sectionTable+(len(m.sections)+i)*sectionHeaderSize:])
		copy(out[s.rawAt:], contents[i].data)
	}
	le.PutUint16(out[m.coff+2:], uint16(len(m.sections)+len(added)))
	opt := out[m.optional:]
	le.PutUint32(opt[sizeOfInitDataAt:], le.Uint32(opt[sizeOfInitDataAt:])+uint32(initialized))
	le.PutUint32(opt[sizeOfImageAt:], uint32(align(nextVirtual, uint64(m.sectionAlignment))))
	if m.directories > certificateEntry {
		// A signature of the stub alone no longer holds.
		clear(opt[optionalHeaderMin+8*certificateEntry:][:8])
	}
	le.PutUint32(opt[checksumAt:], checksum(out, m.optional+checksumAt))
	return out, nil
}

func align(n, to uint64) uint64 { return (n + to - 1) / to * to }
