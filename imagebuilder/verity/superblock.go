package verity

import "encoding/binary"

// superblockSize is how many bytes of the superblock's block are in use.
const superblockSize = 512

// superblock returns the on-disk verity superblock, little endian:
// signature, version, hash type, uuid, algorithm, block sizes, data blocks, salt.
func superblock(t Tree, uuid [16]byte) [superblockSize]byte {
	var b [superblockSize]byte
	copy(b[0:8], "verity\x00\x00")
	binary.LittleEndian.PutUint32(b[8:], 1)  // superblock version
	binary.LittleEndian.PutUint32(b[12:], 1) // hash type: normal, salt first
	copy(b[16:32], uuid[:])
	copy(b[32:64], "sha256")
	binary.LittleEndian.PutUint32(b[64:], BlockSize) // data blocks
	binary.LittleEndian.PutUint32(b[68:], BlockSize) // hash blocks
	binary.LittleEndian.PutUint64(b[72:], uint64(t.DataBlocks))
	binary.LittleEndian.PutUint16(b[80:], uint16(len(t.Salt)))
	copy(b[88:344], t.Salt[:])
	return b
}
