package handmade

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
)

// Kernel is an arm64 kernel image of size bytes that wants memory bytes (booting.rst).
func Kernel(size int, memory uint64) []byte {
	b := make([]byte, size)
	for i := 64; i < size; i++ {
		b[i] = byte(i)
	}
	le := binary.LittleEndian
	le.PutUint64(b[16:], memory)
	le.PutUint64(b[24:], 1<<3|1<<1)
	copy(b[56:], "ARM\x64")
	return b
}

// Node is a node of a device tree to make.
type Node struct {
	Name     string
	Props    map[string][]byte
	Children []Node
}

// Tree is a flattened device tree (Devicetree Specification 0.4, chapter 5).
func Tree(root Node) []byte {
	be := binary.BigEndian
	var structs, strings []byte
	pad := func(b []byte) []byte {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	var walk func(n Node)
	walk = func(n Node) {
		structs = be.AppendUint32(structs, 1)
		structs = pad(append(structs, n.Name+"\x00"...))
		for _, k := range slices.Sorted(maps.Keys(n.Props)) {
			structs = be.AppendUint32(structs, 3)
			structs = be.AppendUint32(structs, uint32(len(n.Props[k])))
			structs = be.AppendUint32(structs, uint32(len(strings)))
			structs = pad(append(structs, n.Props[k]...))
			strings = append(strings, k+"\x00"...)
		}
		for _, c := range n.Children {
			walk(c)
		}
		structs = be.AppendUint32(structs, 2)
	}
	walk(root)
	structs = be.AppendUint32(structs, 9)
	const head, reserve = 40, 16
	total := head + reserve + len(structs) + len(strings)
	var b []byte
	for _, w := range []int{0xD00DFEED, total, head + reserve, head + reserve + len(structs), head, 17, 16, 0, len(strings), len(structs)} {
		b = be.AppendUint32(b, uint32(w))
	}
	b = append(b, make([]byte, reserve)...)
	return append(append(b, structs...), strings...)
}

// Board is a device tree with nothing but a compatible string.
func Board(compatible string) []byte {
	return Tree(Node{Props: map[string][]byte{"compatible": []byte(compatible + "\x00")}})
}

// Script is a U-Boot script image: a legacy image of type 6 (include/image.h).
func Script(text string) []byte {
	be := binary.BigEndian
	data := be.AppendUint32(nil, uint32(len(text)))
	data = append(be.AppendUint32(data, 0), text...)
	h := make([]byte, 64)
	be.PutUint32(h, 0x27051956)
	be.PutUint32(h[12:], uint32(len(data)))
	be.PutUint32(h[24:], crc32.ChecksumIEEE(data))
	copy(h[28:], []byte{5, 22, 6, 0}) // Linux, arm64, script, not compressed
	copy(h[32:], "test")
	be.PutUint32(h[4:], crc32.ChecksumIEEE(h))
	return append(h, data...)
}

// UBootFIT is what SPL loads: U-Boot, trusted firmware and a device tree, with their content inside of the tree.
// The second byte of each content may be broken, by the image's name, so that its digest does not match.
func UBootFIT(broken string) []byte {
	str := func(s string) []byte { return []byte(s + "\x00") }
	image := func(name, kind, os string, load uint32) Node {
		data := []byte("content of " + name)
		sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(data))
		if name == broken {
			data[1]++
		}
		n := Node{Name: name, Props: map[string][]byte{"data": data, "type": str(kind), "compression": str("none")}, Children: []Node{
			{Name: "hash-1", Props: map[string][]byte{"algo": str("crc32"), "value": sum}},
		}}
		if os != "" {
			n.Props["os"] = str(os)
			n.Props["load"] = binary.BigEndian.AppendUint32(nil, load)
		}
		return n
	}
	return Tree(Node{Children: []Node{
		{Name: "images", Children: []Node{
			image("atf", "firmware", "arm-trusted-firmware", 0x40000),
			image("uboot", "standalone", "u-boot", 0x200000),
			image("fdt-1", "flat_dt", "", 0),
		}},
		{Name: "configurations", Props: map[string][]byte{"default": str("config-1")}, Children: []Node{
			{Name: "config-1", Props: map[string][]byte{"firmware": str("atf"), "loadables": str("uboot"), "fdt": str("fdt-1")}},
		}},
	}})
}
