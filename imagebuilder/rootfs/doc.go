// Package rootfs assembles the read-only root of a board, in memory, and writes it as a filesystem
// image: squashfs or erofs. Everything is done as an ordinary user, and the image's bytes depend on the
// contents alone: owners are root, times are the package lock's epoch, the order is that of
// package tree, the writing tools come from the lock.
//
// What is in a root: the overlay "base" (the layout and /etc), Keelson's programs, a few programs of
// Debian with exactly the libraries they load, certificate authorities, the board's kernel modules and
// firmware, and the OCI archives that the node imports at start.
package rootfs
