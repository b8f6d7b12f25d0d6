package rootfs

import (
	"slices"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
)

// debianFiles are the files taken from Debian packages, by package. Shared libraries are found
// by what the programs ask for.
var debianFiles = []struct {
	pkg   string
	files []string
}{
	{"nftables", []string{"usr/sbin/nft"}},
	{"mount", []string{"usr/bin/mount", "usr/bin/umount", "usr/sbin/losetup"}},
	{"util-linux", []string{"usr/sbin/blkid", "usr/sbin/blockdev", "usr/sbin/fsck"}},
	{"e2fsprogs", []string{"usr/sbin/mke2fs", "usr/sbin/mkfs.ext4", "usr/sbin/e2fsck", "usr/sbin/fsck.ext4", "usr/sbin/resize2fs", "etc/mke2fs.conf"}},
}

// certificates is the package with the certificate authorities, as one PEM file each in certificatesDir.
const (
	certificates    = "ca-certificates"
	certificatesDir = "usr/share/ca-certificates/mozilla"
)

// dataPackages are taken for every board, without dependencies. busybox-static is for the test
// image that package oci makes; it is not in the root.
var dataPackages = []string{certificates, "busybox-static"}

// toolPackages have the programs that the build runs, biosTools those that it runs for a board with a loader for a BIOS.
var (
	toolPackages = []string{"erofs-utils", "kmod", "squashfs-tools"}
	biosTools    = []string{"grub-common"}
)

// Packages returns the Debian packages that an image of b is made of.
func Packages(b *boards.Board) pkgs.Spec {
	s := pkgs.Spec{Suite: b.Suite, Arch: b.Arch, Kernel: b.Kernel,
		Data: slices.Concat(dataPackages, b.Packages), Tools: toolPackages}
	if b.BIOS != "" {
		s.Tools = slices.Concat(toolPackages, biosTools)
	}
	for _, d := range debianFiles {
		s.Root = append(s.Root, d.pkg)
	}
	return s
}
