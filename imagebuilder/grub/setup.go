package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const sectorSize = 512

// BootCodeSize is the size of the boot code in a disk's first sector, bytes: what is behind it belongs to the partition table.
const BootCodeSize = 440

// Fields of boot.img. Source: GRUB include/grub/i386/pc/boot.h.
const (
	bpbStart      = 0x03 // a FAT volume's parameters; scratch memory of the code
	bpbEnd        = 0x5a
	kernelSector  = 0x5c // u64, sector of the core image
	bootDrive     = 0x64 // u8, 0xff: the one that the BIOS names
	driveCheck    = 0x66 // two bytes of code
	shortJump     = 0xeb
	noOperation   = 0x90
	fromBIOSDrive = 0xff
)

// Fields of a core image. Source: GRUB include/grub/offsets.h, grub-core/boot/i386/pc/diskboot.S.
const (
	firstBlock   = sectorSize - blockSize // block list of diskboot.img: u64 sector, u16 sectors, u16 segment
	blockSize    = 12
	restSegment  = 0x800 + sectorSize/16 // the rest goes right behind the first sector, which is at 0x8000
	rsRedundancy = sectorSize + 0x10     // u32, bytes of Reed-Solomon codes
	rsBegin      = sectorSize + 0x14     // u16, 0xffff in no version we know
	memoryEnd    = 0x78000
	memoryStart  = 0x9000
	maxCore      = memoryEnd - memoryStart
)

// ErrOtherVersion is returned for images of GRUB's that are not laid out as those of version 2.12.
var ErrOtherVersion = errors.New("not laid out as GRUB 2.12 does")

// BootCode returns the first BootCodeSize bytes of a disk whose core image begins at sector core, made of boot.img.
// It does what grub-bios-setup does for a hard disk.
// Errors wrap ErrOtherVersion.
// Source: GRUB 2.12, util/setup.c, SETUP and write_rootdev.
func BootCode(bootImg []byte, core int64) ([]byte, error) {
	switch {
	case len(bootImg) != sectorSize:
		return nil, fmt.Errorf("grub: boot.img: %w: %d bytes, want %d", ErrOtherVersion, len(bootImg), sectorSize)
	case bootImg[0] != shortJump || bootImg[driveCheck] != shortJump || bootImg[bootDrive] != fromBIOSDrive:
		return nil, fmt.Errorf("grub: boot.img: %w: bytes %#x at 0, %#x at %#x, %#x at %#x; want %#x, %#x, %#x", ErrOtherVersion,
			bootImg[0], bootImg[bootDrive], bootDrive, bootImg[driveCheck], driveCheck, shortJump, fromBIOSDrive, shortJump)
	case core <= 0:
		return nil, fmt.Errorf("grub: core image at sector %d: want one behind the first", core)
	}
	out := bytes.Clone(bootImg[:BootCodeSize])
	clear(out[bpbStart:bpbEnd])
	binary.LittleEndian.PutUint64(out[kernelSector:], uint64(core))
	// Some BIOSes say drive 0 or 1 and mean the first hard disk. Without this jump the code corrects them.
	out[driveCheck], out[driveCheck+1] = noOperation, noOperation
	return out, nil
}

// place returns the core image that grub-mkimage wrote for the sectors from first on: in whole sectors, its block list
// set to where it lies, in one piece.
// Errors wrap ErrOtherVersion, or say that the image is too large.
// Source: GRUB 2.12, util/setup.c, SETUP and save_blocklists.
func place(core []byte, first int64) ([]byte, error) {
	if len(core) < 2*sectorSize {
		return nil, fmt.Errorf("grub: core image: %w: %d bytes, want more than a sector", ErrOtherVersion, len(core))
	}
	if len(core) > maxCore {
		return nil, fmt.Errorf("grub: core image has %d bytes, at most %d are possible", len(core), maxCore)
	}
	le := binary.LittleEndian
	out := make([]byte, (len(core)+sectorSize-1)/sectorSize*sectorSize)
	copy(out, core)
	if s := le.Uint16(out[firstBlock+10:]); s != restSegment {
		return nil, fmt.Errorf("grub: core image: %w: first block goes to segment %#x, want %#x", ErrOtherVersion, s, restSegment)
	}
	if n := le.Uint16(out[firstBlock-blockSize+8:]); n != 0 {
		return nil, fmt.Errorf("grub: core image: %w: a second block of %d sectors", ErrOtherVersion, n)
	}
	if r, b := le.Uint32(out[rsRedundancy:]), le.Uint16(out[rsBegin:]); r != 0 || b == 0xffff {
		return nil, fmt.Errorf("grub: core image: %w: %d bytes of Reed-Solomon codes, from %#x on", ErrOtherVersion, r, b)
	}
	if first <= 0 {
		return nil, fmt.Errorf("grub: core image at sector %d: want one behind the first", first)
	}
	le.PutUint64(out[firstBlock:], uint64(first)+1)
	le.PutUint16(out[firstBlock+8:], uint16(len(out)/sectorSize-1)) // maxCore makes this small
	clear(out[firstBlock-blockSize : firstBlock])
	return out, nil
}
