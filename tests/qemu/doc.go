// Package qemu boots a Keelson image in a virtual machine: for "keelson run", for the
// scenarios in tests, and for anybody's own integration test that wants a real cluster.
//
// A Machine lives in a folder of its own:
//
//	DIR/
//	  disk.qcow2   overlay over the image: the image itself is never written
//	  image.raw    the image unpacked, if it is compressed or in a format of virtual machines
//	  vars.fd      the machine's UEFI variables
//	  linux, initrd.img, board.dtb   what QEMU loads itself, for a machine without a firmware
//	  serial.log   everything the serial console said, over all boots
//	  qemu.log     what QEMU itself had to say
//	  qmp.sock     QEMU's control socket, while it runs
//	  image.json   which image the overlay belongs to
//
// What machine it is follows the image: the boot loaders on its FAT partition tell. Where
// there is a choice, Config.Firmware makes it.
//
// It needs QEMU and qemu-img, a firmware for most machines (errors name the Debian package),
// no privileges, and no KVM: KVM is used when a real boot under it worked (see Accel) and the
// architecture is the host's. The host reaches the machine only through the forwarded ports.
package qemu
