// Package sunxi reads a disk as the boot ROM of Allwinner's A64 does, and U-Boot's SPL after it.
//
// The ROM looks for an "eGON.BT0" header at 8 KiB, then at 128 KiB, and loads so many bytes as it says into the SRAM at
// 0x10000. SPL then reads a FIT image 32 KiB behind its own beginning, or right behind itself when it is longer.
// Sources: U-Boot v2025.01 include/sunxi_image.h, tools/sunxi_egon.c, arch/arm/mach-sunxi/board.c
// (board_spl_mmc_get_uboot_raw_sector), doc/board/allwinner/sunxi.rst; linux-sunxi.org, "BROM" and "EGON".
package sunxi
