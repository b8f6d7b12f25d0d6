// Package fat writes a whole FAT32 volume in one pass.
//
// The subset written: FAT32 with 512-byte sectors, two FATs, VFAT long names, and every
// file and directory in one contiguous run of clusters. Nothing is read back, nothing is
// changed afterwards: all sizes are known before the first byte is written. The target
// must read as zeros (a new sparse file), since zero areas are not written.
//
//	reserved   boot sector (0), FSInfo (1), their copies (6, 7); padded so that the
//	           data area starts at a multiple of 4096 bytes
//	FAT 1, 2   32-bit entries, the upper 4 bits zero
//	data       from cluster 2 on: root directory, the other directories, the files,
//	           each group in path order
//
// Byte-identical for equal inputs: volume id and timestamps are given by the caller.
//
// Source: Microsoft FAT specification (2005-08-30), sections 3 to 7.
package fat
