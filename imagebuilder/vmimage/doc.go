// Package vmimage writes a disk image in the formats of virtual machines:
//
//	raw    the disk's bytes
//	qcow2  QEMU's, version 3 (compat=1.1), not compressed: what is in our images is compressed already
//	vmdk   VMware's and VirtualBox's, monolithicSparse, adapter type lsilogic
//	vhd    Hyper-V's and Azure's: a fixed disk, the raw bytes and a footer of 512
//
// qcow2 and vmdk are written by qemu-img, and what it makes by chance - a VMDK's content ID, the name of the file
// it wrote to - is set afterwards. So one version of qemu-img gives equal bytes for equal disks. A VHD is written here.
package vmimage
