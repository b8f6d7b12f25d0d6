// Package uboot makes what U-Boot reads: the boot script and boot.env.
//
// U-Boot's standard boot finds boot.scr in the root of the FAT partition. The script chooses a slot by the
// blocks of the bootstate area, loads the slot's kernel, initramfs, arguments and device tree from its folder,
// and starts the kernel:
//
//	boot.scr              the script, a legacy image
//	slot-a/linux          Image, uncompressed
//	slot-a/initrd.img
//	slot-a/boot.env       one line, keelson_args= and the kernel command line
//	slot-a/dtb/VENDOR/…   device trees, where U-Boot was not given one by the firmware before it
//
// The blocks of boot state are described in package upgrade/bootcontrol/ubootenv.
//
// Sources: U-Boot documentation "Standard boot", "env command"; include/image.h (legacy image).
package uboot
