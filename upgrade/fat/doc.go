// Package fat reads and changes a FAT32 volume that somebody else made, without mounting it, so that the order of
// its writes is ours: files and folders of the FAT partition of an image or of a node's disk.
//
// The subset: FAT32 with sectors of 512 bytes; paths with slashes, found by long or short name without regard to case. Files that are not
// named stay untouched, bit for bit.
//
//	reserved   boot sector (0), FSInfo (1), their copies
//	FATs       32-bit entries, the upper 4 bits are reserved and kept
//	data       clusters from number 2 on; folders are chains of them
//
// # Order of writes
//
// A new file goes to the disk in this order, with a sync behind each step:
//
//	content     into free clusters
//	FATs        its chain, in every copy
//	entry       the name's long entries and the short one, all marked as deleted (first byte 0xe5); then
//	            the long ones alive, which drivers skip as long as no short one follows; then the short one. So the last
//	            step, which makes the file visible, changes one byte on the disk
//
// A name goes in the other order: first byte of the short entry, sync, the long ones, sync, then the clusters that no other
// entry has, in every FAT. To replace a file, the new entry is made first, under the same name; readers take the first of two. To
// rename one, the new name gets an entry with the same clusters. So whenever the power goes, torn sectors and reordered writes between
// two syncs included, a name stands for the old content or the new. What else may be left of it (lost clusters, two
// names for one chain, one name twice, long entries without a short one, copies of the FAT that differ, a wrong count of free clusters) hurts
// no reader; Heal removes it.
//
// One exception: a folder that is full grows by a cluster, which changes the four bytes of an entry of the FAT in use.
//
// Source: Microsoft FAT specification (2005-08-30), sections 3 to 7.
package fat
