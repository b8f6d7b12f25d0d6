// Package rockchip reads a disk as the boot ROM of the RK3328 and the RK3399 does, and U-Boot's SPL after it.
//
// The ROM reads the block at sector 64: a header scrambled with RC4 under a key that everybody knows, which says where
// and how long the first program is (U-Boot's TPL, which sets up the memory) and how long what follows it (SPL). SPL then
// reads a FIT image at sector 16384.
// Sources: U-Boot v2025.01 tools/rkcommon.c, doc/board/rockchip/rockchip.rst ("Booting from an SD card"), common/spl/Kconfig
// (SYS_MMCSD_RAW_MODE_U_BOOT_SECTOR), arch/arm/dts/rockchip-u-boot.dtsi; opensource.rock-chips.com, "Boot option".
package rockchip
