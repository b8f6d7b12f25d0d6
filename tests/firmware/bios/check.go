package bios

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

// Places of fields in GRUB's first two sectors.
const (
	codeEnd       = 440   // boot code of the MBR ends where the disk signature begins
	kernelAddress = 0x5a  // u16: where the first sector of the core image is loaded
	kernelSector  = 0x5c  // u64: its LBA
	firstBlock    = 0x1f4 // u64 LBA, u16 sectors, u16 segment; further ones below it, an empty one is the last
	blockSize     = 12
)

// Addresses that the code is linked for.
const (
	bootAt      = 0x7c00 // the first sector, by every BIOS
	coreAt      = 0x8000
	coreSegment = 0x820        // the rest is right behind the first sector
	linkAt      = 0x9000       // GRUB_KERNEL_I386_PC_LINK_ADDR; grub-mkimage counts the core image from here
	lowEnd      = 0x78000      // and it must end here (util/mkimage.c, "core image is too big")
	lowMemory   = 0x9f000      // end of what a BIOS leaves
	sizes       = 0x200 + 0x08 // in the core image: u32 compressed size, u32 uncompressed size
)

// Check reads the disk as a BIOS does, as far as GRUB's core image.
func Check(image io.ReaderAt, size int64) (firmware.Report, error) {
	r := firmware.Report{Machine: "PC BIOS"}
	table, err := disk.Read(image, size)
	if err != nil {
		return r, err
	}
	var home *disk.Partition
	for i, p := range table.Partitions {
		if p.Type == disk.TypeBIOSBoot {
			home = &table.Partitions[i]
		}
	}
	if home == nil {
		r.Faultf("no BIOS boot partition (%s)", disk.TypeBIOSBoot)
		return r, nil
	}
	mbr := make([]byte, disk.SectorSize)
	if _, err := image.ReadAt(mbr, 0); err != nil {
		return r, err
	}
	if len(bytes.Trim(mbr[:codeEnd], "\x00")) == 0 {
		r.Faultf("the first sector has no boot code")
		return r, nil
	}
	r.Load("BIOS", "sector 0", disk.SectorSize, firmware.At(bootAt, disk.SectorSize))
	le := binary.LittleEndian
	if mbr[0] != 0xEB || !bytes.Contains(mbr[:codeEnd], []byte("GRUB ")) {
		r.Faultf("the first sector has boot code that is not GRUB's")
		return r, nil
	}
	if a := le.Uint16(mbr[kernelAddress:]); a != coreAt {
		r.Faultf("the core image is loaded to %#x, want %#x", a, coreAt)
	}
	lba := le.Uint64(mbr[kernelSector:])
	inside := func(what string, first, count uint64) bool {
		start, n := uint64(home.Start)/disk.SectorSize, uint64(home.Size)/disk.SectorSize
		if first < start || count > n || first-start > n-count {
			r.Faultf("%s: sectors [%d, %d) are not inside the BIOS boot partition [%d, %d)", what, first, first+count, start, start+n)
			return false
		}
		return true
	}
	if !inside("first sector of the core image", lba, 1) {
		return r, nil
	}
	first := make([]byte, disk.SectorSize)
	if _, err := image.ReadAt(first, int64(lba)*disk.SectorSize); err != nil {
		return r, err
	}
	r.Load("sector 0", fmt.Sprintf("sector %d: core image's first", lba), disk.SectorSize, firmware.At(coreAt, disk.SectorSize))
	core := bytes.Clone(first)
	for at := firstBlock; ; at -= blockSize {
		if at < firstBlock-10*blockSize {
			r.Faultf("the list of blocks has no end")
			return r, nil
		}
		from, count, segment := le.Uint64(first[at:]), uint64(le.Uint16(first[at+8:])), uint64(le.Uint16(first[at+10:]))
		if count == 0 {
			break
		}
		if !inside("core image", from, count) {
			return r, nil
		}
		if want := uint64(coreSegment) + uint64(len(core)-disk.SectorSize)/16; segment != want {
			r.Faultf("block at sector %d goes to segment %#x, want %#x", from, segment, want)
		}
		b := make([]byte, count*disk.SectorSize)
		if _, err := image.ReadAt(b, int64(from)*disk.SectorSize); err != nil {
			return r, err
		}
		core = append(core, b...)
		r.Load("core image", fmt.Sprintf("sector %d: core image's rest", from), int64(len(b)), firmware.At(segment*16, uint64(len(b))))
	}
	r.Place(firmware.Range{End: lowMemory}, []firmware.Load{{File: "sector 0", At: firmware.At(bootAt, disk.SectorSize)}},
		[]firmware.Load{{File: "core image", At: firmware.At(coreAt, uint64(len(core)))}})
	coreImage(&r, core)
	return r, nil
}

// coreImage checks what the second stage says of itself: it unpacks so many bytes of LZMA.
func coreImage(r *firmware.Report, core []byte) {
	if len(core) < sizes+8 {
		r.Faultf("core image: %d bytes, nothing is behind its first sector", len(core))
		return
	}
	le := binary.LittleEndian
	packed, plain := int64(le.Uint32(core[sizes:])), int64(le.Uint32(core[sizes+4:]))
	if packed == 0 || plain == 0 || packed > int64(len(core)) {
		r.Faultf("core image: %d bytes packed, %d unpacked, in %d bytes", packed, plain, len(core))
	}
	if linkAt+len(core) > lowEnd {
		r.Faultf("core image: ends at %#x in memory, GRUB allows %#x", linkAt+len(core), lowEnd)
	}
}
