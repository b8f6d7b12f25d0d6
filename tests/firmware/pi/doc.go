// Package pi reads a disk as the Raspberry Pi's boot ROM, EEPROM and start.elf do.
//
//	Pi 3, Zero 2 W   boot ROM → bootcode.bin → start.elf, fixup.dat → config.txt → kernel
//	Pi 4, 400, CM4   EEPROM → start4.elf, fixup4.dat → config.txt → kernel
//	Pi 5, 500, CM5   EEPROM, which holds all of it → config.txt → kernel
//
// Sources, all of raspberrypi/documentation, documentation/asciidoc/computers: raspberry-pi/bootflow-*.adoc (who loads what),
// config_txt/what_is_config_txt.adoc (lines, include), config_txt/conditional.adoc (filters), config_txt/boot.adoc (kernel,
// initramfs, cmdline, os_prefix, upstream_kernel). Where these are silent: raspberrypi/firmware issues 1660 (device tree of
// the CM4), 1711 (partition types of the ROM), 1839 (unknown filters), 1848 (size of config.txt), 2018 (device trees of the
// BCM2712's D0 stepping), raspberrypi/linux issue 7319 (addresses on a Pi 5), and the names in start4.elf of Debian's
// raspi-firmware 1.20240424.
package pi
