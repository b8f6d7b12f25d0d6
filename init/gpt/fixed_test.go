package gpt

import (
	"encoding/binary"
	"hash/crc32"
)

// fixed returns a disk of at least 100 sectors that begins with b, with the checksums of
// its primary header and entries made right.
func fixed(b []byte) []byte {
	disk := make([]byte, max(100*SectorSize, min(len(b), 1<<16)))
	copy(disk, b)
	h := disk[SectorSize : 2*SectorSize]
	first := binary.LittleEndian.Uint64(h[72:])
	n := uint64(binary.LittleEndian.Uint32(h[80:])) * entrySize
	if first < 1000 && n < uint64(len(disk)) && first*SectorSize+n <= uint64(len(disk)) {
		binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(disk[first*SectorSize:][:n]))
	}
	binary.LittleEndian.PutUint32(h[16:], 0)
	if size := binary.LittleEndian.Uint32(h[12:]); size <= SectorSize {
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:size]))
	}
	return disk
}
