// Package firmware holds what the readers below it share. Each of them behaves as one boot ROM, firmware or boot
// loader does, and is written from that program's public documentation or source, never from Keelson's own writers:
// it imports nothing of imagebuilder, boards or init, and has its own eyes for partition tables, FAT and device trees.
// Their tests' disks are made by hand and by reference tools (package handmade).
//
//	disk      MBR, GPT, FAT                          uboot     U-Boot's standard boot, boot.scr, booti
//	fdt       device trees and FIT images            rockchip  boot ROM of RK3328 and RK3399, SPL
//	arm64     kernel images                          sunxi     boot ROM of the A64, SPL
//	pi        Raspberry Pi's ROM, EEPROM, start.elf  uefi      UEFI, systemd-boot, UKIs
//	                                                 bios      PC BIOS, GRUB's first stages
//
// Every Check takes the whole disk and a machine, and returns a Report: what would be loaded, file by file and in
// order, and every fault. An error means that the disk could not be read at all.
package firmware
