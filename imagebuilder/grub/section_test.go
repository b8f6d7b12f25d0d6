package grub

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/upgrade/bootcontrol/grubenv"
)

func testImage() Image {
	return Image{
		Initrd: Extent{600 * 512, 1000}, Linux: Extent{602 * 512, 5 * 512},
		Cmdline: `roothash=00ff quiet dyndbg="file a.c +p; file b.c +p" "x=y z" brd.rd_size=$HOME`,
		Top:     bytes.Repeat([]byte{7}, TopSize), TopAt: 0x21080000,
	}
}

func TestSectionHasHeaderScriptAndTopBlockInTheirSectors(t *testing.T) {
	i := testImage()
	got, err := Section(i)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != SectionSize {
		t.Fatalf("Section has %d bytes, want %d", len(got), SectionSize)
	}
	header, err := grubenv.Variables(got[:512])
	if want := []grubenv.Variable{{Name: "grub_script", Value: "513+8"}}; err != nil || !slices.Equal(header, want) {
		t.Errorf("header: %q, %v, want %q", header, err, want)
	}
	text := string(got[512 : 9*512])
	want := `if cmp "(${keelson_root})1082368+8" "(uki)521+8"; then
  if linux "(uki)602+5" 'roothash=00ff' 'quiet' 'dyndbg=file a.c +p; file b.c +p' 'x=y z' 'brd.rd_size=$HOME' "keelson.slot=${keelson_slot}" "keelson.esp=${keelson_esp}"; then
    if initrd "(uki)600+2"; then
      set keelson_ok=1
    fi
  fi
fi
`
	_, text, _ = strings.Cut(text, "\n")
	if strings.TrimRight(text, "\n") != strings.TrimRight(want, "\n") {
		t.Errorf("script:\n%s\nwant:\n%s", text, want)
	}
	if !bytes.Equal(got[9*512:], i.Top) {
		t.Error("the top block is not in the last sectors")
	}
}

func TestSectionRefusesWhatGRUBCannotRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Image)
	}{
		{"kernel between sectors", func(i *Image) { i.Linux.Offset++ }},
		{"no kernel", func(i *Image) { i.Linux.Size = 0 }},
		{"initramfs between sectors", func(i *Image) { i.Initrd.Offset += 256 }},
		{"top block between sectors", func(i *Image) { i.TopAt++ }},
		{"no top block", func(i *Image) { i.Top = nil }},
		{"single quote", func(i *Image) { i.Cmdline = "a=it's" }},
		{"quote inside", func(i *Image) { i.Cmdline = `a=b"c"d` }},
		{"open quote", func(i *Image) { i.Cmdline = `a="b c` }},
		{"backslash", func(i *Image) { i.Cmdline = `a=\n` }},
		{"line break", func(i *Image) { i.Cmdline = "a\nreboot" }},
	} {
		i := testImage()
		tt.change(&i)
		if _, err := Section(i); err == nil {
			t.Errorf("%s: Section = nil, want an error", tt.name)
		}
	}
}

// TestSectionRefusesTheFirstArgumentTooMany: GRUB would leave it out without a word.
func TestSectionRefusesTheFirstArgumentTooMany(t *testing.T) {
	// What GRUB makes of it, by grub-core/lib/cmdline.c.
	const added = len("BOOT_IMAGE=(uki)602+5") + len(" keelson.slot=a keelson.esp=01234567-89ab-cdef-0123-456789abcdef")
	i := testImage()
	i.Cmdline = strings.Repeat("x", 2047-added-1)
	if _, err := Section(i); err != nil {
		t.Errorf("Section with a command line of 2047 bytes = %v", err)
	}
	i.Cmdline += "x"
	if _, err := Section(i); err == nil {
		t.Error("Section with a command line of 2048 bytes = nil, want an error")
	}
}
