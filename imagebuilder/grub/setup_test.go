package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// fakeBoot is as much of a boot.img as the setup looks at.
func fakeBoot() []byte {
	b := bytes.Repeat([]byte{0x11}, sectorSize)
	b[0], b[driveCheck], b[bootDrive] = shortJump, shortJump, fromBIOSDrive
	return b
}

// fakeCore is a core image of that size as grub-mkimage writes them.
func fakeCore(size int) []byte {
	b := make([]byte, size)
	le := binary.LittleEndian
	le.PutUint64(b[firstBlock:], 1)
	le.PutUint16(b[firstBlock+8:], uint16((size+sectorSize-1)/sectorSize-1))
	le.PutUint16(b[firstBlock+10:], restSegment)
	le.PutUint16(b[rsBegin:], 0x1234)
	for i := 2 * sectorSize; i < size; i++ {
		b[i] = byte(i)
	}
	return b
}

func TestBootCodeNamesTheCoreImage(t *testing.T) {
	img := fakeBoot()
	got, err := BootCode(img, 0x123456789)
	if err != nil {
		t.Fatal(err)
	}
	want := img[:BootCodeSize]
	clear(want[bpbStart:bpbEnd])
	copy(want[0x5c:], []byte{0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0})
	copy(want[0x66:], []byte{0x90, 0x90})
	if !bytes.Equal(got, want) {
		t.Errorf("BootCode =\n% x, want\n% x", got, want)
	}
}

func TestBootCodeRefusesOtherImages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"short", func(b []byte) []byte { return b[:sectorSize-1] }},
		{"long", func(b []byte) []byte { return append(b, 0) }},
		{"other code at its begin", func(b []byte) []byte { b[0] = 0xfa; return b }},
		{"no jump at the drive check", func(b []byte) []byte { b[driveCheck] = 0xf6; return b }},
		{"a fixed drive", func(b []byte) []byte { b[bootDrive] = 0x80; return b }},
	} {
		if _, err := BootCode(tt.change(fakeBoot()), 2048); !errors.Is(err, ErrOtherVersion) {
			t.Errorf("%s: BootCode = %v, want ErrOtherVersion", tt.name, err)
		}
	}
	for _, sector := range []int64{-1, 0} {
		if _, err := BootCode(fakeBoot(), sector); err == nil {
			t.Errorf("BootCode for a core image at sector %d = nil, want an error", sector)
		}
	}
}

func TestPlaceListsTheRestOfTheCoreImage(t *testing.T) {
	for _, size := range []int{2 * sectorSize, 2*sectorSize + 1, 3*sectorSize - 1, 100 * sectorSize, maxCore} {
		core := fakeCore(size)
		got, err := place(core, 2048)
		if err != nil {
			t.Errorf("place(%d bytes) = %v", size, err)
			continue
		}
		sectors := (size + sectorSize - 1) / sectorSize
		le := binary.LittleEndian
		first, count, segment := le.Uint64(got[0x1f4:]), int(le.Uint16(got[0x1fc:])), le.Uint16(got[0x1fe:])
		if len(got) != sectors*sectorSize || first != 2049 || count != sectors-1 || segment != 0x820 {
			t.Errorf("place(%d bytes): %d bytes, block %d+%d to segment %#x; want %d bytes, 2049+%d to 0x820", size, len(got), first, count, segment, sectors*sectorSize, sectors-1)
		}
		if !bytes.Equal(got[:firstBlock], core[:firstBlock]) || !bytes.Equal(got[sectorSize:size], core[sectorSize:]) || len(bytes.Trim(got[size:], "\x00")) != 0 {
			t.Errorf("place(%d bytes) changed more than the block list", size)
		}
	}
}

func TestPlaceRefusesOtherImages(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"nothing behind diskboot.img", func(b []byte) []byte { return b[:2*sectorSize-1] }},
		{"other segment", func(b []byte) []byte { le.PutUint16(b[firstBlock+10:], 0x800); return b }},
		{"two blocks", func(b []byte) []byte { le.PutUint16(b[firstBlock-blockSize+8:], 1); return b }},
		{"Reed-Solomon codes", func(b []byte) []byte { le.PutUint32(b[rsRedundancy:], 512); return b }},
		{"no Reed-Solomon field", func(b []byte) []byte { le.PutUint16(b[rsBegin:], 0xffff); return b }},
	} {
		if _, err := place(tt.change(fakeCore(4*sectorSize)), 2048); !errors.Is(err, ErrOtherVersion) {
			t.Errorf("%s: place = %v, want ErrOtherVersion", tt.name, err)
		}
	}
	if _, err := place(fakeCore(maxCore+1), 2048); err == nil {
		t.Error("place of a core image that low memory cannot hold = nil, want an error")
	}
	if _, err := place(fakeCore(4*sectorSize), 0); err == nil {
		t.Error("place over the boot code = nil, want an error")
	}
}

func TestSetupRefusesACoreImageLargerThanItsPartition(t *testing.T) {
	d := Disk{Core: 1 << 20, Room: 3 * sectorSize}
	if _, err := setup(fakeCore(3*sectorSize), fakeBoot(), d); err != nil {
		t.Errorf("setup of what just fits = %v", err)
	}
	if _, err := setup(fakeCore(3*sectorSize+1), fakeBoot(), d); err == nil {
		t.Error("setup of one byte more = nil, want an error")
	}
	d.Core++
	if _, err := setup(fakeCore(3*sectorSize), fakeBoot(), d); err == nil {
		t.Error("setup at half a sector = nil, want an error")
	}
}
