package fdt

import (
	"bytes"
	"crypto/md5"  // a digest that FIT images may name
	"crypto/sha1" // likewise
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/keelson-os/keelson/tests/firmware"
)

// Image is a file in a FIT.
type Image struct {
	Name, Type, OS, Arch, Compression string
	Offset, Size                      int64  // of its content, bytes from the FIT's start
	Load                              uint64 // where SPL puts it; 0 when not told
}

// FIT is a FIT image, checked against its digests.
type FIT struct {
	Images  []Image // those that the default configuration names, in the order in which SPL loads them
	Size    int64   // bytes from its start to the end of the last content
	Default string  // the default configuration
	tree    int64   // bytes of the tree itself
}

// maxTree bounds the tree of a FIT, and maxContent one file in it.
const (
	maxTree    = 16 << 20
	maxContent = 64 << 20
)

// ReadFIT reads what SPL loads of the FIT at byte at of the disk: the firmware, the loadables and the device tree of the
// default configuration. Digests must match. Content is in the tree ("data"), or behind it, at "data-position" from the
// FIT's start or "data-offset" from its tree's end, rounded up to 4 bytes (source_file_format.rst, "External data").
func ReadFIT(image io.ReaderAt, at int64) (*FIT, error) {
	head := make([]byte, 8)
	if _, err := image.ReadAt(head, at); err != nil {
		return nil, fmt.Errorf("FIT at byte %d: %w", at, err)
	}
	size, err := Size(head)
	if err != nil {
		return nil, fmt.Errorf("FIT at byte %d: %w", at, err)
	}
	if size > maxTree {
		return nil, fmt.Errorf("FIT at byte %d: tree of %d bytes", at, size)
	}
	blob := make([]byte, size)
	if _, err := image.ReadAt(blob, at); err != nil {
		return nil, fmt.Errorf("FIT at byte %d: %w", at, err)
	}
	tree, err := Parse(blob)
	if err != nil {
		return nil, fmt.Errorf("FIT at byte %d: %w", at, err)
	}
	images, configs := tree.Root.Child("images"), tree.Root.Child("configurations")
	if images == nil || configs == nil || len(configs.Children) == 0 {
		return nil, fmt.Errorf("FIT at byte %d: no images or no configurations", at)
	}
	f := &FIT{Size: size, tree: size}
	if d := configs.Strings("default"); len(d) == 1 {
		f.Default = d[0]
	}
	config := configs.Child(f.Default)
	if config == nil {
		return nil, fmt.Errorf("FIT at byte %d: default configuration %q is not there", at, f.Default)
	}
	var names []string
	for _, p := range []string{"firmware", "loadables", "fdt"} {
		names = append(names, config.Strings(p)...)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("FIT at byte %d: configuration %q names no image", at, f.Default)
	}
	for _, name := range names {
		node := images.Child(name)
		if node == nil {
			return nil, fmt.Errorf("FIT at byte %d: configuration %q names image %q, which is not there", at, f.Default, name)
		}
		img, content, err := f.content(image, at, node)
		if err != nil {
			return nil, fmt.Errorf("FIT at byte %d: image %q: %w", at, name, err)
		}
		if err := verify(node, content); err != nil {
			return nil, fmt.Errorf("FIT at byte %d: image %q: %w", at, name, err)
		}
		f.Images = append(f.Images, img)
		f.Size = max(f.Size, img.Offset+img.Size)
	}
	return f, nil
}

func (f *FIT) content(image io.ReaderAt, at int64, node *Node) (Image, []byte, error) {
	first := func(prop string) string {
		if s := node.Strings(prop); len(s) > 0 {
			return s[0]
		}
		return ""
	}
	img := Image{Name: node.Name, Type: first("type"), OS: first("os"), Arch: first("arch"), Compression: first("compression")}
	if load, err := node.Number("load"); err == nil {
		img.Load = load
	}
	if data, ok := node.Props["data"]; ok {
		img.Size = int64(len(data))
		return img, data, nil
	}
	n, err := node.Number("data-size")
	if err != nil {
		return img, nil, err
	}
	if position, err := node.Number("data-position"); err == nil {
		img.Offset = int64(position)
	} else if offset, err := node.Number("data-offset"); err == nil {
		img.Offset = (f.tree+3)&^3 + int64(offset)
	} else {
		return img, nil, err
	}
	if n > maxContent || img.Offset < 0 || img.Offset > maxContent {
		return img, nil, fmt.Errorf("content of %d bytes at %d", n, img.Offset)
	}
	img.Size = int64(n)
	content := make([]byte, n)
	_, err = image.ReadAt(content, at+img.Offset)
	return img, content, err
}

// verify checks every hash node of an image.
func verify(node *Node, content []byte) error {
	for _, c := range node.Children {
		algo := c.Strings("algo")
		if len(algo) != 1 || c.Props["value"] == nil {
			continue // a signature, or a digest that was not filled in
		}
		var got []byte
		var h hash.Hash
		switch algo[0] {
		case "crc32":
			got = binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content))
		case "md5":
			h = md5.New()
		case "sha1":
			h = sha1.New()
		case "sha256":
			h = sha256.New()
		case "sha384":
			h = sha512.New384()
		case "sha512":
			h = sha512.New()
		default:
			return fmt.Errorf("digest %q is not known", algo[0])
		}
		if h != nil {
			h.Write(content)
			got = h.Sum(nil)
		}
		if !bytes.Equal(got, c.Props["value"]) {
			return fmt.Errorf("%s is %x, %s says %x", algo[0], got, c.Name, c.Props["value"])
		}
	}
	return nil
}

// Place records a FIT's files in a report, with their places in memory.
func (f *FIT) Place(r *firmware.Report, by string) {
	for _, img := range f.Images {
		var at firmware.Range
		if img.Load != 0 {
			at = firmware.At(img.Load, uint64(img.Size))
		}
		r.Load(by, img.Name, img.Size, at)
	}
}

// Faults finds what is wrong for an SPL that starts U-Boot; where is the FIT's name for people. The three parts must be there, not
// compressed, and those with a place in memory must be below 4 GiB and clear of each other.
func (f *FIT) Faults(r *firmware.Report, where string) {
	var uboot, atf, tree bool
	var parts []firmware.Load
	for _, img := range f.Images {
		uboot = uboot || img.OS == "u-boot" || img.OS == "U-Boot"
		atf = atf || img.OS == "arm-trusted-firmware"
		tree = tree || img.Type == "flat_dt"
		if img.Load != 0 {
			parts = append(parts, firmware.Load{File: img.Name, At: firmware.At(img.Load, uint64(img.Size))})
		}
		if img.Compression != "none" && img.Compression != "" {
			r.Faultf("%s: %s is compressed with %s", where, img.Name, img.Compression)
		}
	}
	if !uboot || !atf || !tree {
		r.Faultf("%s: U-Boot %t, trusted firmware %t, device tree %t; all three are needed", where, uboot, atf, tree)
	}
	r.Place(firmware.Range{End: 1 << 32}, nil, parts)
}
