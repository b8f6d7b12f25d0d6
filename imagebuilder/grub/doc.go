// Package grub makes what starts a slot on a PC without UEFI: GRUB's core image and boot code
// and the part of a UKI that it reads. Kernel and initramfs are on the ESP once, in the slot's UKI.
//
// # On the disk
//
//	bytes 0…439                 boot code: GRUB's boot.img, told where the core image begins
//	partition "bios", 1 MiB     the core image: diskboot.img with one block list, GRUB's kernel and modules (LZMA), and a
//	                            memory disk with boot.cfg. No Reed-Solomon codes
//	partition "bootstate"       the blocks of boot state, from its sector 32 on
//	ESP: EFI/Linux/keelson_*.efi  the UKIs, named as systemd-boot's boot counting likes; GRUB renames nothing
//
// The BIOS starts the first sector, that the core image, and that boot.cfg, which nobody can interrupt: there is no menu,
// no prompt and no editor, and it ends in a kernel or a reset. It only looks at the disk that the BIOS started.
//
// # Boot state
//
// The blocks of boot state are described in package upgrade/bootcontrol/grubenv. boot.cfg counts a try before it makes it: a changed byte
// of one sector.
//
// # In a UKI
//
// GRUB cannot read PE files, but it reads sectors of any file. So a UKI for a board with a BIOS has a section
// ".grub", the first behind the stub's, whose content lies at byte 262144 (sector 512) of the file:
//
//	sector (of 512 bytes)  of the UKI
//	512        environment block: grub_script=513+8
//	513…520    script, text, filled up with line breaks: loads this UKI's kernel and initramfs by block lists, with the
//	           arguments of .cmdline
//	521…528    the top block of the root's hash tree, 4096 bytes
//
// The script compares the last with the same block in the slot's root partition, so a UKI finds its slot by
// the root hash, as the initramfs does: no file says which UKI belongs to which slot, and an upgrade writes one file. What boot.cfg and the
// script of any version agree on:
//
//	keelson_root  in   device of the slot's root partition: "hd0,gpt3"
//	keelson_slot  in   "a" or "b", appended to the kernel's arguments as keelson.slot=
//	keelson_esp   in   partition UUID of the ESP, appended as keelson.esp=
//	uki           in   the UKI as a device
//	keelson_ok    out  "1" when kernel and initramfs are loaded
//
// Sources: GRUB 2.12, util/setup.c, grub-core/boot/i386/pc/boot.S and diskboot.S, include/grub/i386/pc/boot.h and
// include/grub/offsets.h (places of the fields), grub-core/lib/envblk.c (environment block), grub-core/lib/cmdline.c (kernel
// arguments); GRUB manual, "BIOS installation" and "Block list syntax"; UAPI.5 Unified Kernel Image.
package grub
