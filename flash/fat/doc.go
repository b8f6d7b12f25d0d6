// Package fat reads and replaces small files in the root directory of a FAT32 volume that
// somebody else made, without mounting it: the machine configuration on the FAT partition
// of an image or a disk.
//
// The subset: FAT32 with sectors of 512 bytes, files of the root directory, found by their
// long or short name without regard to case; at most MaxFile bytes each. All other files
// and directories stay untouched, bit for bit.
//
//	reserved   boot sector (0), FSInfo (1), their copies
//	FATs       32-bit entries, the upper 4 bits are reserved and kept
//	data       clusters from number 2 on; the root directory is a chain of them
//
// A file is replaced in this order: new content into free clusters, their chain, sync,
// the directory entry in one sector, sync, then the old clusters are overwritten with
// zeros and freed. So whenever the disk goes away, the name stands for the old content or
// for the new one; at worst clusters are lost that fsck.fat finds.
//
// Source: Microsoft FAT specification (2005-08-30), sections 3 to 7.
package fat
