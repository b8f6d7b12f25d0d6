// Package bootcontrol reads and sets which slot a node boots, on every boot chain by one contract (Control), and keeps the boot files of the
// slots.
//
//	chain      recognised by           default and trial are
//	uefi       EFI/Linux               the names of the UKIs on the ESP: keelson_N_SLOT.efi, keelson_N_SLOT+LEFT-DONE.efi; the highest N that has tries left
//	uefi+grub  and GRUB's archive in   the same, and GRUB's blocks in the bootstate area (package grubenv), for a BIOS
//	           the bootstate area
//	u-boot     boot.scr                blocks in the bootstate area (package ubootenv)
//	pi         slot.txt                that file, one sector (package pislot); it cannot count
//
// It works on the whole disk and in user space, also on the FAT partition (package fat): the order of the writes is what makes a power cut harmless, and
// no file system's driver promises one.
//
// Sources: UAPI.1 Boot Loader Specification, "Boot counting"; UAPI.10 Version Format Specification; packages imagebuilder/grub and imagebuilder/uboot for the scripts.
package bootcontrol
