package bios_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/bios"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
)

const mib = handmade.MiB

// image has GRUB's first sector and a core image of 1+rest sectors at the beginning of the BIOS boot partition.
func image(kind string, rest int) []byte {
	b := make([]byte, 4*mib)
	handmade.GPT(b, 128, handmade.Part{Start: 1 * mib, Size: 1 * mib, Type: kind, Name: "bios"})
	le := binary.LittleEndian
	b[0], b[1] = 0xEB, 0x63
	copy(b[0x180:], "GRUB \x00Geom")
	le.PutUint16(b[0x5a:], 0x8000)
	le.PutUint64(b[0x5c:], 2048)
	core := b[mib:]
	le.PutUint64(core[0x1f4:], 2049)
	le.PutUint16(core[0x1fc:], uint16(rest))
	le.PutUint16(core[0x1fe:], 0x820)
	le.PutUint32(core[0x208:], uint32(rest*512-512))
	le.PutUint32(core[0x20c:], 70000)
	return b
}

func TestOneBrokenDetailIsOneFault(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		name  string
		kind  string
		rest  int
		spoil func(b []byte)
		want  string
	}{
		{name: "good"},
		{name: "no partition", kind: disk.TypeESP, want: "no BIOS boot partition"},
		{name: "no boot code", spoil: func(b []byte) { clear(b[:440]) }, want: "has no boot code"},
		{name: "another loader", spoil: func(b []byte) { clear(b[0x180:0x190]) }, want: "not GRUB's"},
		{name: "core image outside", spoil: func(b []byte) { le.PutUint64(b[0x5c:], 34) }, want: "not inside the BIOS boot partition"},
		{name: "rest outside", spoil: func(b []byte) { le.PutUint64(b[mib+0x1f4:], 4095) }, want: "core image: sectors [4095, 4195)"},
		{name: "rest at a wild sector", spoil: func(b []byte) { le.PutUint64(b[mib+0x1f4:], 1<<63) }, want: "not inside"},
		{name: "wrong segment", spoil: func(b []byte) { le.PutUint16(b[mib+0x1fe:], 0x800) }, want: "segment 0x800"},
		{name: "no rest", spoil: func(b []byte) { le.PutUint16(b[mib+0x1fc:], 0) }, want: "nothing is behind its first sector"},
		{name: "longer than its blocks", spoil: func(b []byte) { le.PutUint32(b[mib+0x208:], 1<<20) }, want: "1048576 bytes packed"},
		{name: "too large", rest: 1000, want: "GRUB allows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.kind == "" {
				c.kind = disk.TypeBIOSBoot
			}
			b := image(c.kind, max(c.rest, 100))
			if c.spoil != nil {
				c.spoil(b)
			}
			r, err := bios.Check(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			handmade.WantFault(t, r, c.want)
		})
	}
}

func FuzzCheck(f *testing.F) {
	b := image(disk.TypeBIOSBoot, 100)
	f.Add(b[0x5a:0x68], b[mib+0x1e8:mib+0x210])
	base := bytes.NewReader(b)
	f.Fuzz(func(t *testing.T, mbr, core []byte) {
		o := disk.NewOverlay(base)
		if _, err := o.WriteAt(mbr[:min(len(mbr), 14)], 0x5a); err != nil {
			t.Fatal(err)
		}
		if _, err := o.WriteAt(core[:min(len(core), 40)], mib+0x1e8); err != nil {
			t.Fatal(err)
		}
		if _, err := bios.Check(o, int64(len(b))); err != nil {
			t.Errorf("a readable disk gives an error: %v", err)
		}
	})
}
