// Package flash writes a disk image to a disk, or to a file in its place, and proves that
// it is there; and it reads and changes the machine configuration on the FAT partition of
// an image or a disk, without mounting.
//
// The order of a write, so that a disk that was pulled out, or a program that was killed,
// never leaves what looks like a finished disk:
//
//  1. the first MiB, which holds the partition table and the start of boot loaders, and the
//     last MiB, where an old disk's copy of its table may be, become zeros
//  2. everything behind the first MiB is written, zeros included
//  3. it is read back and compared with digests made while it was written
//  4. per-node files go to the FAT partition
//  5. on a GUID partition table the state partition grows, and the table's copy is
//     written, to the end of the disk
//  6. the first MiB is written, synced, read back and compared, its first 4 KiB last
//
// So a disk without a partition table is one whose write was not finished, and writing it
// again repairs it.
package flash
