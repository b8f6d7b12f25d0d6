// Package uki makes Unified Kernel Images: a PE file of systemd's EFI stub with the
// kernel, the initramfs and the kernel command line appended as sections.
//
// The subset written: PE32+ only, sections are appended behind the stub's own in file
// and in memory, none is replaced or moved, nothing is signed. Section names and meaning
// are those of UAPI.5:
//
//	.osrel    text in the form of os-release(5), for the boot menu
//	.cmdline  kernel command line, text
//	.uname    kernel release (uname -r), text
//	.initrd   initramfs
//	.linux    kernel, last, since its size in memory may be above that in the file
//
// Sections begin at multiples of 512 bytes in the file at least, filled up with zeros. A section of the caller's whose
// content has a fixed place in the file may precede them, see Fixed.
//
// The stub's .sbat stays as it is.
//
// Sources: Microsoft PE format; UAPI.5 Unified Kernel Image; systemd-stub(7).
package uki
