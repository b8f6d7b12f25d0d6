// Package uboot runs a disk's boot script as U-Boot 2025.01 does, which is what Debian 13 has: it finds the script
// by U-Boot's standard boot, checks its header, interprets it against the disk and a map of the board's memory, and ends
// where booti would start the kernel. Commands that the interpreter does not know are a fault, so that nothing passes unseen.
//
// Sources, all of U-Boot v2025.01: doc/develop/bootstd/overview.rst, boot/bootflow.c, boot/bootdev-uclass.c, boot/bootmeth-uclass.c
// (order of boot methods, which partitions), boot/bootmeth_script.c, include/config_distro_bootcmd.h (the sunxi boards),
// boot/image-board.c (image_locate_script), common/cli_hush.c, cmd/test.c, cmd/nvedit.c and lib/hashtable.c (env import, env export),
// fs/fs.c (load), cmd/mmc.c and cmd/blk_common.c, cmd/setexpr.c, cmd/booti.c and arch/arm/lib/image.c. Which commands a board has, its
// environment and addresses: configs/*_defconfig, include/configs, and the strings in Debian's u-boot-rpi, -rockchip and -sunxi.
package uboot
