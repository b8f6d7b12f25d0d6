package bios_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/bios"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/smallsystem"
)

// envBlock is an environment block of one sector (GRUB manual, "Environment block").
func envBlock(lines ...string) []byte {
	text := "# GRUB Environment Block\n" + strings.Join(append(lines, ""), "\n")
	return []byte(text + strings.Repeat("#", 512-len(text)))
}

// TestGRUBTakesTheSlotThatItsBlocksSay starts the disk again and again. Both slots have the root, so that either can be started.
func TestGRUBTakesTheSlotThatItsBlocksSay(t *testing.T) {
	const trial, committed, second = bios.StateOffset + 512, bios.StateOffset + 32*512, bios.StateOffset + 40*512
	s := smallsystem.New(t, smallsystem.UEFIGRUB, "one", smallsystem.Plain())
	base := smallsystem.Disk(t, smallsystem.UEFIGRUB, s)
	copy(base[smallsystem.RootB:], s.Root)
	armed := envBlock("ab_try=b", "ab_left=3", "ab_tgen=1")
	for _, c := range []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"new disk", func([]byte) {}, "aaa"},
		{"three tries", func(b []byte) { copy(b[trial:], armed) }, "bbbaa"},
		{"one try", func(b []byte) { copy(b[trial:], envBlock("ab_try=b", "ab_left=1", "ab_tgen=1")) }, "baa"},
		{"four tries are none", func(b []byte) { copy(b[trial:], envBlock("ab_try=b", "ab_left=4", "ab_tgen=1")) }, "aa"},
		{"of an older generation", func(b []byte) { copy(b[trial:], envBlock("ab_try=b", "ab_left=3", "ab_tgen=0")) }, "aa"},
		{"no slot", func(b []byte) { copy(b[trial:], envBlock("ab_try=c", "ab_left=3", "ab_tgen=1")) }, "aa"},
		{"damaged trial block", func(b []byte) { copy(b[trial:], armed); b[trial]++ }, "aa"},
		{"damaged archive", func(b []byte) { copy(b[trial:], armed); b[bios.StateOffset+100]++ }, "aa"},
		{"committed", func(b []byte) {
			copy(b[committed:], envBlock("ab_default=b", "ab_gen=2"))
			copy(b[trial:], envBlock("ab_try=a", "ab_left=1", "ab_tgen=2"))
		}, "abb"},
		{"damaged committed block", func(b []byte) {
			clear(b[committed : committed+512])
			copy(b[second:], envBlock("ab_default=b", "ab_gen=2"))
		}, "bb"},
		{"both are damaged", func(b []byte) {
			clear(b[committed : committed+512])
			clear(b[second : second+512])
			copy(b[trial:], armed)
		}, "aa"},
		{"the chosen slot has no root", func(b []byte) { copy(b[trial:], armed); clear(b[smallsystem.RootB : smallsystem.RootB+4<<20]) }, "aaaa"},
	} {
		b := bytes.Clone(base)
		c.change(b)
		d := disk.NewOverlay(bytes.NewReader(b))
		got := ""
		for range c.want {
			r, err := bios.Start(d, int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			handmade.WantFault(t, r, "")
			if r.Kernel != "EFI/Linux/keelson_1_a.efi" || !strings.HasPrefix(r.Cmdline, "roothash="+s.RootHash+" keelson.verity=200:") {
				t.Errorf("%s: %s", c.name, r)
			}
			got += r.Slot
		}
		if got != c.want {
			t.Errorf("%s: boots %s, want %s", c.name, got, c.want)
		}
	}
}

func TestGRUBStartsNoImageOfAnotherRoot(t *testing.T) {
	s := smallsystem.New(t, smallsystem.UEFIGRUB, "one", smallsystem.Plain())
	b := smallsystem.Disk(t, smallsystem.UEFIGRUB, s)
	b[smallsystem.RootA+(smallsystem.DataBlocks+1)*4096] ^= 1
	r, err := bios.Start(disk.NewOverlay(bytes.NewReader(b)), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	handmade.WantFault(t, r, "no boot image of either slot's root")
}
