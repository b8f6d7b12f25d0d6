package bios

import (
	"strings"
	"testing"
)

func FuzzParseImage(f *testing.F) {
	good := make([]byte, 17*sector)
	copy(good, "# GRUB Environment Block\ngrub_script=513+8\n"+strings.Repeat("#", sector))
	copy(good[sector:], `if cmp "(${keelson_root})1616+8" "(uki)521+8"; then
  if linux "(uki)521+2" 'roothash=00' 'quiet' "keelson.slot=${keelson_slot}" "keelson.esp=${keelson_esp}"; then
    if initrd "(uki)521+1"; then
`)
	copy(good[9*sector+0x202:], "HdrS")
	front := make([]byte, sectionAt)
	image := func(section []byte) []byte { return append(front[:sectionAt:sectionAt], section...) }
	if i, err := parseImage(image(good)); err != nil || i.cmdline != "roothash=00 quiet" {
		f.Fatalf("parseImage of a good one = %+v, %v", i, err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, section []byte) {
		i, err := parseImage(image(section))
		if err == nil && (len(i.top) == 0 || len(i.kernel) < 0x240 || len(i.initrd) == 0) {
			t.Errorf("%d, %d, %d bytes", len(i.top), len(i.kernel), len(i.initrd))
		}
	})
}
