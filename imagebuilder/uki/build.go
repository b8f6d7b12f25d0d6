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
	// Fixed, if not nil, is one more section, for a boot loader that cannot read PE files.
	Fixed *Fixed
}

// Fixed is a section with content at a fixed place of the file.
type Fixed struct {
	Name string
	At   int64 // byte offset of the content in the file; the section begins before it, with zeros
	Size int64 // bytes of the content
	// Content returns the content, by where other sections lie in the file.
	Content func(initrd, linux Extent) ([]byte, error)
}

// Extent is bytes [Offset, Offset+Size) of the file. Offset is a multiple of 512, and what
// fills up the last 512 bytes is zeros.
type Extent struct{ Offset, Size int64 }

// blockSize is what sections are aligned to in the file, whatever less the stub's headers say: an upgrade looks for
// blocks of 4096 bytes that the node has, and a section that has not changed is found whatever the size of those before it.
const blockSize = 4096

// sectorSize is what Fixed.At and Extent are multiples of, so
// that a boot loader can read them by sectors.
const sectorSize = 512

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
	contents := []content{
		{".osrel", p.OSRelease, 0},
		{".cmdline", []byte(p.Cmdline), 0},
		{".uname", []byte(p.Uname), 0},
		{".initrd", p.Initrd, 0},
		// The kernel's memory behind its file content, if it wants some, lies in
		// the UKI's own memory: ukify does the same.
		{".linux", p.Linux, kernel.sizeOfImage},
	}
	var out []byte
	if p.Fixed == nil {
		out, _, err = appendSections(p.Stub, stub, contents)
	} else {
		out, err = p.Fixed.build(p.Stub, stub, contents)
	}
	if err != nil {
		return nil, err
	}
	at := stub.optional + checksumAt
	binary.LittleEndian.PutUint32(out[at:], checksum(out, at))
	return out, nil
}

// build returns the UKI with the fixed section, the first behind the stub's own. Its checksum is still to be set.
func (f *Fixed) build(stub []byte, m *image, contents []content) ([]byte, error) {
	begin := int64(align(uint64(len(stub)), m.alignment()))
	if f.At < begin || f.Size <= 0 || f.At%sectorSize != 0 {
		return nil, fmt.Errorf("uki: section %s: %d bytes at %d: want some in whole sectors of %d behind the stub, which ends at %d", f.Name, f.Size, f.At, sectorSize, begin)
	}
	// The bytes of the section are filled in once it is known where the others lie.
	contents = append([]content{{f.Name, make([]byte, f.At+f.Size-begin), 0}}, contents...)
	out, added, err := appendSections(stub, m, contents)
	if err != nil {
		return nil, err
	}
	at := map[string]Extent{}
	for i, s := range added {
		at[s.name] = Extent{int64(s.rawAt), int64(len(contents[i].data))}
	}
	data, err := f.Content(at[".initrd"], at[".linux"])
	if err != nil {
		return nil, fmt.Errorf("uki: section %s: %w", f.Name, err)
	}
	if int64(len(data)) != f.Size {
		return nil, fmt.Errorf("uki: section %s: content of %d bytes, want %d", f.Name, len(data), f.Size)
	}
	copy(out[f.At:], data)
	return out, nil
}

// content is a section to append: its memory is the larger of its data and memory bytes.
type content struct {
	name   string
	data   []byte
	memory uint32
}

// appendSections returns the stub with the sections behind its own, and those. The checksum is still to be set.
func appendSections(stub []byte, m *image, contents []content) ([]byte, []section, error) {
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
				return nil, nil, fmt.Errorf("uki: stub already has a section %s", c.name)
			}
		}
	}
	need := uint64(m.sectionTable + (len(m.sections)+len(contents))*sectionHeaderSize)
	if need > limit {
		return nil, nil, fmt.Errorf("uki: %w: %d bytes needed, %d there", ErrNoHeaderRoom, need, limit)
	}

	// Pages of memory protection: a section of its own page even where the stub's
	// alignment is smaller (Debian 12's is 512).
	virtualAlign := uint64(max(m.sectionAlignment, 4096))
	var added []section
	var initialized uint64
	for _, c := range contents {
		raw := align(size, m.alignment())
		virtual := align(nextVirtual, virtualAlign)
		rawSize := align(uint64(len(c.data)), m.alignment())
		memory := max(uint64(len(c.data)), uint64(c.memory))
		if raw+rawSize > math.MaxInt32 || virtual+memory > math.MaxInt32 {
			return nil, nil, fmt.Errorf("uki: section %s of %d bytes ends above 2 GiB, the limit of the format", c.name, len(c.data))
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
	return out, added, nil
}

// alignment is what sections are aligned to in the file.
func (m *image) alignment() uint64 { return uint64(max(m.fileAlignment, blockSize)) }

func align(n, to uint64) uint64 { return (n + to - 1) / to * to }
