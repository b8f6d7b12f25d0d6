// Package uefi reads a disk as UEFI firmware, systemd-boot and the stub of a unified kernel image do.
//
// Sources: UEFI specification 2.10, section 3.5.1.1 (removable media boot behaviour), 13.3.3 (number and location of system
// partitions); PE format specification; UAPI.1 Boot Loader Specification, "Type #2" and "Boot counting"; UAPI.5 Unified Kernel
// Image, "Sections"; systemd 257 sd-boot(7), systemd-stub(7); Linux Documentation/arch/x86/boot.rst.
package uefi
