// Package grubenv reads and makes GRUB's blocks of boot state.
//
// The blocks are one sector each, alone in 4 KiB, so that a cut write on a disk with large physical sectors damages one of them:
//
//	sector (of 512 bytes)  from 15 MiB on
//	 0    header of a tar archive with one file, "trial", of 512 bytes; never changes
//	 1    the trial block: ab_try=SLOT, ab_left=0…3, ab_tgen=N   armed by the node, counted down by boot.cfg
//	 2, 3 end of the archive, zeros
//	32    the committed block: ab_default=SLOT, ab_gen=N         written by the node only
//	40    a copy of the committed block, read when the first one is damaged
//
// The archive is there because GRUB 2.12's save_env writes files, not block lists (it does since commit b8366e484 of
// its later versions), and a tar archive is a file system to it. It writes the file's sector in place. For arming a trial the node
// writes sectors 0 and 1 with one write, so that a damaged header is whole again.
//
// A block is GRUB's environment block: the line "# GRUB Environment Block", then lines NAME=VALUE, then "#" up to byte
// 512, with no line break at the end. The variables are those of U-Boot's blocks (package ubootenv, which has other places for them)
// and mean the same: a trial counts only while its ab_tgen is the committed block's ab_gen, and
// a block that is damaged, or has other values than these, is none. The block has no checksum; a counted try changes one byte of one sector.
//
// Source: GRUB 2.12, grub-core/lib/envblk.c (environment block), grub-core/fs/tar.c.
package grubenv
