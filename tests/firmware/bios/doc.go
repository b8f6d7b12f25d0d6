// Package bios reads a disk as a PC's BIOS and the first stages of GRUB do: the BIOS starts the first sector, that loads the
// first sector of GRUB's core image, and that loads the rest by a list of blocks.
//
// Sources: GRUB 2.12 grub-core/boot/i386/pc/boot.S, diskboot.S and startup_raw.S, include/grub/i386/pc/boot.h and
// include/grub/offsets.h (places of the fields); GRUB manual, "BIOS installation"; UEFI 2.10, section 5.2.1.
package bios
