package fdt_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/fdt"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/reftool"
)

func TestParse(t *testing.T) {
	blob := handmade.Board("acme,board")
	tree, err := fdt.Parse(append(blob, "behind"...))
	if err != nil {
		t.Fatal(err)
	}
	if got := tree.Root.Strings("compatible"); len(got) != 1 || got[0] != "acme,board" || tree.Size != int64(len(blob)) {
		t.Errorf("compatible %q, size %d", got, tree.Size)
	}
	for _, c := range []struct {
		name  string
		spoil func(b []byte) []byte
	}{
		{"no magic", func(b []byte) []byte { b[0] = 0; return b }},
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"version 1", func(b []byte) []byte { b[23] = 1; return b }},
		{"structure outside", func(b []byte) []byte { b[10] = 0xff; return b }},
		{"no end", func(b []byte) []byte { b[39] -= 4; return b }},
		{"property without end", func(b []byte) []byte { b[40+16+8+4+2] = 0xff; return b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := fdt.Parse(c.spoil(bytes.Clone(blob))); err == nil {
				t.Error("was taken")
			}
		})
	}
	if _, err := fdt.Parse(nil); !errors.Is(err, fdt.ErrNotFDT) {
		t.Errorf("Parse(nil) = %v, want ErrNotFDT", err)
	}
}

func TestReadFIT(t *testing.T) {
	at := int64(512)
	image := func(fit []byte) *bytes.Reader { return bytes.NewReader(append(make([]byte, at), fit...)) }
	f, err := fdt.ReadFIT(image(handmade.UBootFIT("")), at)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Images) != 3 || f.Images[0].Name != "atf" || f.Images[1].Load != 0x200000 || f.Images[2].Type != "flat_dt" {
		t.Errorf("images %+v", f.Images)
	}
	for _, broken := range []string{"atf", "uboot", "fdt-1"} {
		if _, err := fdt.ReadFIT(image(handmade.UBootFIT(broken)), at); err == nil || !strings.Contains(err.Error(), `image "`+broken+`": crc32`) {
			t.Errorf("%s is broken: %v, want a fault of its crc32", broken, err)
		}
	}
}

// TestReadFITOfMkimage reads what U-Boot's own tool made, with the content behind the tree.
func TestReadFITOfMkimage(t *testing.T) {
	mkimage := reftool.Need(t, "mkimage", "u-boot-tools")
	reftool.Need(t, "dtc", "device-tree-compiler") // mkimage runs it
	dir := t.TempDir()
	its := `/dts-v1/;
/ { description = "x"; #address-cells = <1>;
 images { uboot { description = "u"; data = /incbin/("payload"); type = "standalone"; os = "u-boot"; arch = "arm64"; compression = "none"; load = <0x200000>; hash-1 { algo = "sha256"; }; }; };
 configurations { default = "c"; c { description = "c"; loadables = "uboot"; }; }; };`
	payload := bytes.Repeat([]byte("U-Boot"), 1000)
	for name, data := range map[string][]byte{"payload": payload, "x.its": []byte(its)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"-f", "x.its", "x.itb"}, {"-E", "-f", "x.its", "x.itb"}, {"-E", "-p", "0x1000", "-f", "x.its", "x.itb"}} {
		cmd := exec.Command(mkimage, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mkimage: %v\n%s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "x.itb"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := fdt.ReadFIT(bytes.NewReader(data), 0)
		if err != nil {
			t.Errorf("mkimage %v: %v", args, err)
			continue
		}
		if len(f.Images) != 1 || f.Images[0].Size != int64(len(payload)) || f.Size > int64(len(data)) {
			t.Errorf("mkimage %v: %+v", args, f)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(handmade.Board("acme,board"))
	f.Add(handmade.UBootFIT(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tree, err := fdt.Parse(b); err == nil && (tree.Root == nil || tree.Size > int64(len(b))) {
			t.Errorf("tree %+v of %d bytes", tree, len(b))
		}
		if fit, err := fdt.ReadFIT(bytes.NewReader(b), 0); err == nil && fit.Size > int64(len(b))+3 {
			t.Errorf("FIT of %d bytes in %d", fit.Size, len(b))
		}
	})
}
