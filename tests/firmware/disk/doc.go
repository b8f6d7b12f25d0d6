// Package disk reads partition tables and FAT file systems as firmware does.
// Sources: UEFI specification 2.10, section 5.2.1 (legacy MBR), 5.2.3 (protective MBR), 5.3 (GPT); "Microsoft
// Extensible Firmware Initiative FAT32 File System Specification" 1.03, which the UEFI specification, section 13.3, names.
package disk
