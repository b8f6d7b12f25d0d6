package vmimage

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// FooterSize is what a VHD has behind the disk's bytes.
const FooterSize = 512

// vhdUnit is what Azure wants a disk's size to be a multiple of.
const vhdUnit = 1 << 20

// vhdEpoch is what time stamps of VHDs count from.
var vhdEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Fields of the footer, all big endian, by byte offset.
// Source: Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format".
const (
	vhdFeatures     = 8
	vhdVersion      = 12
	vhdDataOffset   = 16
	vhdTime         = 24
	vhdCreator      = 28
	vhdCreatorVer   = 32
	vhdCreatorHost  = 36
	vhdOriginalSize = 40
	vhdCurrentSize  = 48
	vhdCylinders    = 56
	vhdHeads        = 58
	vhdSectors      = 59
	vhdType         = 60
	vhdChecksum     = 64
	vhdID           = 68
)

// AppendFooter makes the raw disk of size bytes in w a fixed VHD, by writing the footer behind it. The VHD has the
// identifier id and was made at made, by its own account.
// An error says that size is not a multiple of 1 MiB, or comes from w.
func AppendFooter(w io.WriterAt, size int64, id [16]byte, made time.Time) error {
	if size <= 0 || size%vhdUnit != 0 {
		return fmt.Errorf("write a VHD: a disk of %d bytes: want a multiple of %d", size, vhdUnit)
	}
	f := make([]byte, FooterSize)
	copy(f, "conectix")
	be := binary.BigEndian
	be.PutUint32(f[vhdFeatures:], 2) // reserved, always set
	be.PutUint32(f[vhdVersion:], 1<<16)
	be.PutUint64(f[vhdDataOffset:], 1<<64-1) // a fixed disk has no header
	be.PutUint32(f[vhdTime:], uint32(max(0, made.Unix()-vhdEpoch.Unix())))
	// Readers decide by these four letters whether the size or the geometry counts, and know those of a few
	// programs. qem2 is QEMU's for images whose size counts, and what Azure gets from everybody who uses qemu-img.
	copy(f[vhdCreator:], "qem2")
	be.PutUint32(f[vhdCreatorVer:], 5<<16|3)
	copy(f[vhdCreatorHost:], "Wi2k")
	be.PutUint64(f[vhdOriginalSize:], uint64(size))
	be.PutUint64(f[vhdCurrentSize:], uint64(size))
	// The largest geometry: readers that go by it see all of the disk.
	be.PutUint16(f[vhdCylinders:], 0xffff)
	f[vhdHeads], f[vhdSectors] = 16, 255
	be.PutUint32(f[vhdType:], 2) // fixed
	copy(f[vhdID:], id[:])
	var sum uint32
	for _, b := range f {
		sum += uint32(b)
	}
	be.PutUint32(f[vhdChecksum:], ^sum)
	_, err := w.WriteAt(f, size)
	return err
}
