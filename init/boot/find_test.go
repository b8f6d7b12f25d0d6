package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/init/verity"
)

const (
	diskSectors = 400
	firstA      = 64
	firstB      = 128
	espID       = "00000005-0000-0000-0000-000000000000"
)

// testDisk has an esp and two slots of 64 sectors; root is what lies in each.
func testDisk(rootA, rootB []byte) []byte {
	d := make([]byte, diskSectors*512)
	entries := d[2*512 : 2*512+128*128]
	for i, p := range []struct {
		name        string
		first, last uint64
	}{{"esp", 40, 63}, {"root-a", firstA, firstA + 63}, {"root-b", firstB, firstB + 63}} {
		e := entries[i*128:]
		e[0], e[16] = 1, byte(5+i)
		binary.LittleEndian.PutUint64(e[32:], p.first)
		binary.LittleEndian.PutUint64(e[40:], p.last)
		for j, c := range []byte(p.name) {
			e[56+2*j] = c
		}
	}
	d[446+4], d[510], d[511] = 0xee, 0x55, 0xaa
	h := d[512:1024]
	copy(h, "EFI PART")
	for off, v := range map[int]uint64{24: 1, 32: diskSectors - 1, 40: 34, 48: diskSectors - 34, 72: 2} {
		binary.LittleEndian.PutUint64(h[off:], v)
	}
	for off, v := range map[int]uint32{8: 0x10000, 12: 92, 80: 128, 84: 128, 88: crc32.ChecksumIEEE(entries)} {
		binary.LittleEndian.PutUint32(h[off:], v)
	}
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	copy(d[firstA*512:], rootA)
	copy(d[firstB*512:], rootB)
	return d
}

// testMBRDisk is the same on a master boot record, as boards without GPT have it.
func testMBRDisk(rootA, rootB []byte) []byte {
	const esp, slot = 16 << 11, 64
	d := make([]byte, (esp+8+3*slot)*512)
	binary.LittleEndian.PutUint32(d[440:], 5)
	first := uint32(esp)
	for i, p := range []struct {
		kind    byte
		sectors uint32
		content []byte
	}{{0x0c, 8, nil}, {0x83, slot, rootA}, {0x83, slot, rootB}, {0xda, slot, nil}} {
		e := d[446+16*i:]
		e[4] = p.kind
		binary.LittleEndian.PutUint32(e[8:], first)
		binary.LittleEndian.PutUint32(e[12:], p.sectors)
		copy(d[first*512:], p.content)
		first += p.sectors
	}
	d[510], d[511] = 0x55, 0xaa
	return d
}

// foreignDisk is a USB stick's: a FAT partition and nothing of ours.
func foreignDisk() []byte {
	d := testMBRDisk(nil, nil)
	clear(d[446+16 : 510])
	return d
}

// testRoot is three data blocks, a superblock and the one block of a tree.
func testRoot(fill byte) ([]byte, verity.Params) {
	root := bytes.Repeat([]byte{fill}, 5*verity.BlockSize)
	copy(root[3*verity.BlockSize:], "verity\x00\x00")
	p := verity.Params{DataBlocks: 3, HashOffset: 3 * verity.BlockSize, Salt: []byte("salt")}
	p.RootHash = sha256.Sum256(append([]byte("salt"), root[4*verity.BlockSize:]...))
	return root, p
}

func TestExamineFindsTheSlotOfTheRootHash(t *testing.T) {
	one, p1 := testRoot(1)
	two, p2 := testRoot(2)
	disk, mbr := testDisk(one, two), testMBRDisk(one, two)
	for _, c := range []struct {
		name, esp, slot string
		disk            []byte
		p               verity.Params
		reason          string
	}{
		{"slot a", "", "a", disk, p1, ""},
		{"slot b", "", "b", disk, p2, ""},
		{"by its ESP", espID, "b", disk, p2, ""},
		{"another disk's ESP", "00000006-ffff-0000-0000-000000000000", "", disk, p1, "not the disk we were booted from"},
		{"both alike", "", "a", testDisk(one, one), p1, ""},
		{"other roots", "", "", testDisk(two, two), p1, "has root hash"},
		{"blank slots", "", "", testDisk(nil, nil), p1, "holds no root"},
		{"MBR, slot a", "", "a", mbr, p1, ""},
		{"MBR, slot b", "", "b", mbr, p2, ""},
		{"MBR, by its ESP", "00000005-01", "b", mbr, p2, ""},
		{"MBR, another disk's ESP", espID, "", mbr, p1, "not the disk we were booted from"},
		{"MBR, other roots", "", "", testMBRDisk(two, two), p1, "slot b (root-b, partition 3 of /dev/x): has root hash"},
		{"MBR of others", "", "", foreignDisk(), p1, "no partition root-a or root-b"},
		{"no table", "", "", make([]byte, 1<<20), p1, "no valid partition table"},
		{"root too large for its partition", "", "", disk, verity.Params{DataBlocks: 100, HashOffset: 100 * verity.BlockSize}, "the root needs"},
	} {
		got := examine(bytes.NewReader(c.disk), "/dev/x", int64(len(c.disk)), c.esp, c.p)
		if got.match != c.slot || !strings.Contains(got.reason, c.reason) || c.slot == "" && c.reason == "" {
			t.Errorf("%s: examine = %+v, want slot %q, reason with %q", c.name, got, c.slot, c.reason)
		}
	}
}
