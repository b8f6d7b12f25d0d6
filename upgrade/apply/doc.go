// Package apply writes a bundle to the slot that is not running.
//
// # Order
//
//  1. The bundle's header and signature, and all that can be refused: Check. Nothing was written until here.
//  2. A trial that somebody armed before is called off: the running slot is committed.
//  3. What is on the disk already is looked for: the index has a hash of each 4096-byte block of the bundle, and every block of both
//     root partitions and of the boot files is hashed.
//  4. If a block of the other root is to change, the other slot's boot files are removed: half a system must not be there
//     for somebody to commit.
//  5. The root: a block that is right in its place is left alone; one that is anywhere on the disk is copied; others are read from the
//     source, neighbours with one read of up to 1 MiB. Each is checked against the index before it is written.
//  6. The root is read back from the device, past the page cache, and its SHA-256 compared.
//  7. The boot files in the same way, those last that a boot loader looks for first. Blocks that came from the source are
//     kept behind the root as well, if there is room: the state of a FAT file that is half written does not survive a power cut, and they
//     need not be read again.
//
// Arm is a step of its own. Until it is called, nothing of what the boot loader reads to choose a slot has changed
// but that there is no trial. Run may be ended at any point, by a power cut too, and started again: it finds the
// blocks that it has written.
//
// # Memory
//
// The bundle's index, 16 bytes a block, about 40 bytes a block for where it is on the disk, and a buffer of 1 MiB: 4 MiB for a system
// of 160 MiB.
//
// # What is where
//
//	source.go, http.go   where a bundle is read from
//	check.go, skew.go    what is refused
//	plan.go, scan.go     which blocks are on the disk
//	fill.go              blocks from disk or source
//	root.go, files.go    writing
//	verify.go, whole.go  reading back
//	device_linux.go      a disk that is a block device; lock_linux.go: only one upgrade at once
package apply
