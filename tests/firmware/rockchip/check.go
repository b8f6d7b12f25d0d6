package rockchip

import (
	"bytes"
	"crypto/rc4" // what the boot ROM uses
	"encoding/binary"
	"fmt"
	"io"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/fdt"
)

// Places on the disk, in sectors of 512 bytes.
const (
	idblockSector = 64
	fitSector     = 0x4000
)

// magic is the first word of the header, when it is unscrambled.
const magic = 0x0FF0AA55

// key is that of every chip (rc4_key in rkcommon.c).
var key = []byte{124, 78, 3, 4, 85, 5, 9, 7, 45, 44, 123, 56, 23, 13, 23, 17}

// Chip is a system on chip.
type Chip struct {
	Name string
	Tag  string // first four bytes of the first program
	SRAM int64  // most bytes that the first program may have (spl_size in rkcommon.c)
	Base uint64 // where the ROM puts it: not in public documentation of the ROM, but in U-Boot's TPL_TEXT_BASE
}

// The chips.
var (
	RK3328 = Chip{"RK3328", "RK32", 0x8000 - 0x800, 0xff091000}
	RK3399 = Chip{"RK3399", "RK33", 0x30000 - 0x2000, 0xff8c2000}
)

// header is the part of header0_info that is used.
type header struct {
	plain              bool  // the programs are not scrambled
	offset, init, boot int64 // bytes from the header; bytes of the first program; bytes of both
}

// parseHeader unscrambles and reads the sector of the header.
func parseHeader(sector []byte) (header, error) {
	if len(sector) < disk.SectorSize {
		return header{}, io.ErrUnexpectedEOF
	}
	c, err := rc4.NewCipher(key)
	if err != nil {
		return header{}, err
	}
	b := make([]byte, disk.SectorSize)
	c.XORKeyStream(b, sector[:disk.SectorSize])
	le := binary.LittleEndian
	if m := le.Uint32(b); m != magic {
		return header{}, fmt.Errorf("magic number %#08x, want %#08x", m, magic)
	}
	h := header{
		plain:  le.Uint32(b[8:]) != 0,
		offset: int64(le.Uint16(b[12:])) * disk.SectorSize,
		init:   int64(le.Uint16(b[506:])) * disk.SectorSize,
		boot:   int64(le.Uint16(b[508:])) * disk.SectorSize,
	}
	if h.offset == 0 || h.init == 0 || h.boot < h.init {
		return h, fmt.Errorf("program of %d bytes, %d with what follows, at %d", h.init, h.boot, h.offset)
	}
	return h, nil
}

// Check reads the disk as the chip does, as far as U-Boot: package uboot goes on from there.
func Check(image io.ReaderAt, size int64, chip Chip) (firmware.Report, error) {
	r := firmware.Report{Machine: chip.Name}
	table, err := disk.Read(image, size)
	if err != nil {
		return r, err
	}
	free := func(what string, start, end int64) {
		if in := table.Free(start, end); in != "" {
			r.Faultf("%s at bytes [%d, %d) overlaps %s", what, start, end, in)
		}
	}
	const at = idblockSector * disk.SectorSize
	sector := make([]byte, disk.SectorSize)
	if _, err := image.ReadAt(sector, at); err != nil {
		return r, err
	}
	end := int64(at)
	if h, err := parseHeader(sector); err != nil {
		r.Faultf("sector %d: %v: the boot ROM finds no program", idblockSector, err)
	} else {
		end = at + h.offset + h.boot
		free("the boot program", at, end)
		r.Load("boot ROM", "sector 64: first program", h.init, firmware.At(chip.Base, uint64(h.init)))
		r.Load("boot ROM", "sector 64: SPL", h.boot-h.init, firmware.Range{})
		first := make([]byte, h.init)
		if _, err := image.ReadAt(first, at+h.offset); err != nil {
			r.Faultf("first program: %v", err)
		}
		if !h.plain {
			r.Faultf("the programs are said to be scrambled: those of an %s are not", chip.Name)
		}
		if !bytes.HasPrefix(first, []byte(chip.Tag)) {
			r.Faultf("the first program begins with %q, an %s wants %q", first[:4], chip.Name, chip.Tag)
		}
		if h.init > chip.SRAM {
			r.Faultf("the first program has %d bytes, the SRAM of an %s takes %d", h.init, chip.Name, chip.SRAM)
		}
		if bytes.Count(first, []byte{0}) == len(first) || len(bytes.Trim(first[4:], "\x00")) == 0 {
			r.Faultf("the first program is empty")
		}
		spl := make([]byte, h.boot-h.init)
		if _, err := image.ReadAt(spl, at+h.offset+h.init); err != nil {
			r.Faultf("SPL: %v", err)
		}
		if len(bytes.Trim(spl, "\x00")) == 0 {
			r.Faultf("SPL is empty")
		}
	}
	const fit = fitSector * disk.SectorSize
	f, err := fdt.ReadFIT(image, fit)
	if err != nil {
		r.Faultf("sector %d: %v", fitSector, err)
		return r, nil
	}
	f.Place(&r, "SPL")
	free("u-boot.itb", fit, fit+f.Size)
	if end > fit {
		r.Faultf("the boot program ends at byte %d, behind the FIT at %d", end, fit)
	}
	f.Faults(&r, "u-boot.itb")
	return r, nil
}
