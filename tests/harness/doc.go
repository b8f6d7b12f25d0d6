// Package harness is what the QEMU scenarios and the benchmark share: a built image, a
// machine that boots it, and kubectl. It uses what a user uses: bin/keelson, the ports of
// the machine, and the serial console for messages of the boot.
package harness
