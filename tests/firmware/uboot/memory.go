package uboot

import (
	"fmt"

	"github.com/keelson-os/keelson/tests/firmware"
)

// segment is a write to memory: what was loaded last is last in the list.
type segment struct {
	name string
	at   firmware.Range
	data []byte // as long as the range, or shorter: the rest is zero
}

// memory is what the script has written so far.
type memory struct{ segments []segment }

func (m *memory) write(name string, addr uint64, data []byte, span uint64) {
	m.segments = append(m.segments, segment{name, firmware.At(addr, max(span, uint64(len(data)))), data})
}

// read returns size bytes. Errors: a byte that the script has not written.
func (m *memory) read(addr, size uint64) ([]byte, error) {
	out := make([]byte, size)
	have := make([]bool, size)
	missing := int(size)
	want := firmware.At(addr, size)
	for i := len(m.segments) - 1; i >= 0 && missing > 0; i-- {
		s := m.segments[i]
		if !s.at.Overlaps(want) {
			continue
		}
		for a := max(s.at.Start, want.Start); a < min(s.at.End, want.End); a++ {
			if k := a - addr; !have[k] {
				have[k] = true
				missing--
				if j := a - s.at.Start; j < uint64(len(s.data)) {
					out[k] = s.data[j]
				}
			}
		}
	}
	if missing > 0 {
		return nil, fmt.Errorf("%d of the bytes %s were never written", missing, want)
	}
	return out, nil
}

// whole finds the last write that begins at addr, and what has overwritten a part of it since.
func (m *memory) whole(addr uint64) (s segment, over string, ok bool) {
	for i := len(m.segments) - 1; i >= 0; i-- {
		if m.segments[i].at.Start != addr {
			continue
		}
		for _, later := range m.segments[i+1:] {
			if later.at.Overlaps(m.segments[i].at) {
				over = later.name
			}
		}
		return m.segments[i], over, true
	}
	return segment{}, "", false
}
