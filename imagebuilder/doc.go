// Package imagebuilder builds a node's disk image: Debian packages and Keelson's programs
// in, a sparse GPT image with both slots out. Everything is done as an ordinary user, and
// equal inputs give equal bytes.
//
// The steps, in order:
//
//	packages   fetched, checked and unpacked (package pkgs)
//	root       assembled (rootfs), written as a filesystem, verity tree appended (verity)
//	initramfs  (initramfs)
//	UKI        stub, kernel, initramfs and the command line with the root hash (uki)
//	ESP        boot loader, UKI, configuration, embedded images and manifests (fat)
//	disk       the partitions, in a new file that appears when it is whole (disk, output)
//
// All up to the initramfs depends on the board, the package lock, the programs and this
// builder alone. It is kept in the cache as one "system" under a key made of the digests
// of exactly these, so a build that only changes the configuration makes the last three
// steps anew.
package imagebuilder
