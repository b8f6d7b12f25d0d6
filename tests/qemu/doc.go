// Package qemu boots a Keelson image in a virtual machine: for "keelson run", for the
// scenarios in tests, and for anybody's own integration test that wants a real cluster.
//
// A Machine lives in a folder of its own:
//
//	DIR/
//	  disk.qcow2   overlay over the image: the image itself is never written
//	  vars.fd      the machine's UEFI variables
//	  serial.log   everything the serial console said, over all boots
//	  qemu.log     what QEMU itself had to say
//	  qmp.sock     QEMU's control socket, while it runs
//	  image.json   which image the overlay belongs to
//
// It needs the Debian packages qemu-system-x86, qemu-utils and ovmf, no privileges, and
// no KVM: KVM is used when a real boot under it worked (see Accel). The host reaches the
// machine only through the forwarded ports.
package qemu
