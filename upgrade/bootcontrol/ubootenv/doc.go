// Package ubootenv reads and makes U-Boot's blocks of boot state.
//
// The bootstate area is 1 MiB at byte 15 MiB of the disk, on every board, whatever the partition table:
//
//	sector (of 512 bytes)  from 15 MiB on
//	 0…7    the committed block: ab_default=SLOT, ab_gen=N       written by the node only
//	 8…15   the trial block: ab_try=SLOT, ab_left=0…3, ab_tgen=N  armed by the node, counted down by the script
//	16…23   a copy of the committed block, read when the first one is damaged
//
// A block is what "env import -c" takes with size 0x1000: CRC-32 (IEEE, little endian) of the 4092 bytes behind it, then
// NAME=VALUE, each with a NUL, and one more NUL; the rest are zeros. A trial counts only while its ab_tgen is the committed block's
// ab_gen, so that committing anything ends every trial; a damaged trial block means the default slot. So a
// power cut at any point of a write boots one slot or the other, and never counts upwards.
//
// Sources: U-Boot documentation "env command"; env/common.c (block).
package ubootenv
