package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/tests/harness"

	"github.com/keelson-os/keelson/tests/reftool"
)

// groups are the folders of the root whose files count as one part.
var groups = []struct{ folder, name string }{
	{"usr/lib/modules/", "kernel modules"},
	{"usr/lib/firmware/", "firmware"},
	{"usr/lib/x86_64-linux-gnu/", "libraries of Debian's tools"},
	{"usr/lib/aarch64-linux-gnu/", "libraries of Debian's tools"},
	{"usr/sbin/", "Debian's tools"},
}

// imageParts lists what an image is made of, the largest first: the boot files as the
// builder lists them, and the root's files and groups of files before its compression.
func imageParts(lab *harness.Lab, dir string) (_ []harness.Part, err error) {
	if !strings.HasPrefix(lab.Info.Root.Format, "squashfs") {
		return nil, fmt.Errorf("the root is %s; its files can be listed for squashfs only", lab.Info.Root.Format)
	}
	unsquashfs, err := reftool.Find("unsquashfs", "squashfs-tools")
	if err != nil {
		return nil, err
	}
	p, err := lab.Info.Partition("root-a")
	if err != nil {
		return nil, err
	}
	root := filepath.Join(dir, "root")
	if err := harness.Extract(lab.Image, root, p.Offset, p.Size); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(root)) }()
	listing, err := harness.Check(unsquashfs, "-lln", root)
	if err != nil {
		return nil, err
	}
	sizes, err := rootParts(listing)
	if err != nil {
		return nil, err
	}
	for _, part := range lab.Info.Parts {
		// The UKI is kernel, initramfs and stub; the root is listed file by file.
		if part.Name == "kernel" || part.Name == "initramfs" || part.Name == "boot loader" || part.Name == "stub" {
			sizes[part.Name] = part.Size
		}
	}
	var out []harness.Part
	for name, size := range sizes {
		out = append(out, harness.Part{Name: name, Size: size})
	}
	slices.SortFunc(out, func(a, b harness.Part) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// rootParts adds up the regular files of a listing by "unsquashfs -lln".
func rootParts(listing string) (map[string]int64, error) {
	sizes := map[string]int64{}
	for line := range strings.Lines(listing) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[0], "-") {
			continue
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("unsquashfs: %q: %w", line, err)
		}
		name := strings.TrimPrefix(f[5], "squashfs-root/")
		for _, g := range groups {
			if strings.HasPrefix(name, g.folder) {
				name = g.name
			}
		}
		sizes[name] += size
	}
	return sizes, nil
}
