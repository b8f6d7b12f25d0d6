package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/flash/drive"
	"github.com/keelson-os/keelson/tests/smallimage"
)

// labImage makes a cluster and an image for it in a new folder, which is the working folder then.
func labImage(t *testing.T) (image string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if _, _, err := keelson(t, "config", "new", "lab"); err != nil {
		t.Fatal(err)
	}
	smallimage.Make(t, "lab.img", smallimage.Options{Files: smallimage.Cluster(t, "lab")})
	return "lab.img"
}

func TestOneImageFlashesManyNodes(t *testing.T) {
	image := labImage(t)
	packed := smallimage.Compress(t, image)
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"node-1", "node-2"} {
		out, _, err := keelson(t, "flash", packed, node+".disk", "--hostname", node, "--set", "cluster.node-label=[room="+node+"]")
		if err != nil || !strings.Contains(out, "read back and compared") {
			t.Fatalf("flash = %q, %v", out, err)
		}
		out, _, err = keelson(t, "config", "edit", node+".disk", "--print")
		if err != nil || !strings.Contains(out, "hostname: "+node+"\n") || !strings.Contains(out, "node-label: [room="+node+"]\n") || !strings.Contains(out, "# Every key") {
			t.Errorf("config edit --print = %q, %v", out, err)
		}
		if st, err := os.Stat(node + ".disk"); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
			t.Errorf("the disk's file: %v, %v; it holds secrets", st, err)
		}
	}
	if _, _, err := keelson(t, "flash", image, "plain.disk", "--no-verify"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("plain.disk"); err != nil || !bytes.Equal(got, before) {
		t.Errorf("the disk differs from the image, %v", err)
	}
}

func TestFlashRefusesBeforeItWrites(t *testing.T) {
	image := labImage(t)
	old := bytes.Repeat([]byte("precious"), 1<<20)
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("small.disk", old)
	write("big.disk", bytes.Repeat(old, 12))
	write("locked.disk", old)
	if err := os.Chmod("locked.disk", 0o400); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(smallimage.Compress(t, image))
	if err != nil {
		t.Fatal(err)
	}
	write("cut.img.zst", packed[:len(packed)/2])
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{image, "small.disk", "--yes"}, "too small"},
		{[]string{image, "locked.disk", "--yes"}, "read-only"},
		{[]string{image, "big.disk"}, "give --yes"},
		{[]string{image, image, "--yes"}, "is the image itself"},
		{[]string{image, "lab", "--yes"}, "is a folder"},
		{[]string{"gone.img", "big.disk", "--yes"}, `"keelson build" makes images`},
		{[]string{"cut.img.zst", "big.disk", "--yes"}, "cut short"},
		{[]string{"lab/server.yaml", "big.disk", "--yes"}, "expected what \"keelson build\" makes"},
		{[]string{image, "big.disk", "--yes", "--hostname", "Not A Name"}, "keelson.yaml:9:11: hostname: found"},
		{[]string{image, "big.disk", "--yes", "--set", "hostnme=a"}, `hostnme: unknown key; did you mean "hostname"?`},
		{[]string{image, "big.disk", "--yes", "--allow", "everything"}, "expected one of partition, system, mounted, in-use, not-removable"},
		{[]string{image, "big.disk", "more", "--yes"}, `unexpected argument "more"`},
	} {
		if _, _, err := keelson(t, append([]string{"flash"}, tt.args...)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("flash %q = %v, want %q", tt.args, err, tt.want)
		}
	}
	for name, want := range map[string][]byte{"small.disk": old, "big.disk": bytes.Repeat(old, 12)} {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s was written to, %v", name, err)
		}
	}
}

func TestFlashAsksWithTheDisksSizeAndModel(t *testing.T) {
	d := &drive.Disk{Path: "/dev/sdb", Size: 31_000_000_000, Model: "SanDisk Ultra", Bus: "usb", Partitions: []drive.Partition{{Label: "PHOTOS", FileSystem: "exfat"}},
		Uses: []drive.Use{{Kind: drive.Mounted, By: "/media/me/PHOTOS (/dev/sdb1)"}}}
	for answer, want := range map[string]error{"yes\n": nil, " yes \n": nil, "yes": nil, "y\n": errNotConfirmed, "\n": errNotConfirmed, "": errNotConfirmed, "YES\n": errNotConfirmed} {
		var out strings.Builder
		if err := ask(strings.NewReader(answer), &out, d); !errors.Is(err, want) {
			t.Errorf("the answer %q: %v, want %v", answer, err, want)
		}
		for _, s := range []string{"31.0 GB", "SanDisk Ultra, usb", "PHOTOS (exfat)", "/media/me/PHOTOS", "will be lost"} {
			if !strings.Contains(out.String(), s) {
				t.Errorf("it is asked %q, without %q", out.String(), s)
			}
		}
	}
}

func TestDisksAreListed(t *testing.T) {
	var out strings.Builder
	err := writeDisks(&out, []drive.Disk{
		{Path: "/dev/sdb", Size: 31_000_000_000, Model: "SanDisk Ultra", Bus: "usb", Partitions: []drive.Partition{{Label: "PHOTOS", FileSystem: "exfat"}}, Uses: []drive.Use{{Kind: drive.Mounted, By: "/media/me/PHOTOS"}}},
		{Path: "/dev/sdc", Size: 500_000_000, ReadOnly: true},
	}, 1)
	want := `DISK      SIZE     MODEL          BUS  ON IT
/dev/sdb  31.0 GB  SanDisk Ultra  usb  PHOTOS (exfat); mounted: /media/me/PHOTOS
/dev/sdc  500 MB   -              -    nothing known; read-only
`
	if err != nil || out.String() != want {
		t.Errorf("writeDisks = %v\n%s\nwant\n%s", err, &out, want)
	}
	out.Reset()
	if err := writeDisks(&out, nil, 2); err != nil || !strings.Contains(out.String(), "--all lists the 2 built-in ones") {
		t.Errorf("writeDisks of none = %q, %v", out.String(), err)
	}
}

func TestRefusalsSayHowToOverruleThem(t *testing.T) {
	err := overrule(&drive.RefusedError{Why: drive.Mounted, Text: "/dev/sdb is mounted: /a; unmount it first"})
	if !strings.HasSuffix(err.Error(), "--allow mounted (it is unmounted then)") {
		t.Errorf("overrule = %v", err)
	}
	plain := errors.New("x")
	if got := overrule(plain); got != plain {
		t.Errorf("overrule of another error = %v", got)
	}
}

func TestConfigEditChangesImagesInTheirPlace(t *testing.T) {
	image := labImage(t)
	for _, tt := range []struct {
		args       []string
		want, gone string
	}{
		{[]string{"--hostname", "pi-1"}, "hostname: pi-1\n", "hostname: lab"},
		{[]string{"--set", "cluster.tls-san=[a.lan, 10.0.0.7]"}, "  tls-san: [a.lan, 10.0.0.7]\n", "no such text"},
		{[]string{"--unset", "cluster.tls-san"}, "hostname: pi-1\n", "10.0.0.7"},
		{[]string{"--file", "lab/server.yaml", "--secrets", "lab/secrets.yaml"}, "hostname: lab\n", "pi-1"},
	} {
		if out, _, err := keelson(t, append([]string{"config", "edit", image}, tt.args...)...); err != nil || !strings.Contains(out, "is changed") {
			t.Fatalf("config edit %q = %q, %v", tt.args, out, err)
		}
		if out, _, err := keelson(t, "config", "edit", image, "--print"); err != nil || !strings.Contains(out, tt.want) || strings.Contains(out, tt.gone) {
			t.Errorf("after %q: %q, %v", tt.args, out, err)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{image, "--set", "hostnme=a"}, "unknown key"},
		{[]string{image, "--print", "--hostname", "a"}, "only reads"},
		{[]string{image, "--file", "gone.yaml"}, "gone.yaml"},
		{[]string{smallimage.Compress(t, image), "--hostname", "a"}, "zstd -d"},
		{[]string{"gone.img", "--hostname", "a"}, "makes images"},
		{[]string{"lab/server.yaml", "--hostname", "a"}, "cannot be written to a disk"},
	} {
		if out, _, err := keelson(t, append([]string{"config", "edit"}, tt.args...)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("config edit %q = %q, %v, want %q", tt.args, out, err, tt.want)
		}
	}
}

func TestConfigEditOpensTheEditor(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the editor of this test is a shell script")
	}
	image := labImage(t)
	editor := filepath.Join(t.TempDir(), "editor")
	mode := filepath.Join(t.TempDir(), "mode")
	script := func(text string) {
		t.Helper()
		if err := os.WriteFile(editor, []byte("#!/bin/sh\nls -l \"$1\" | cut -c1-10 > "+mode+"\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", editor)
	script(`sed -i.bak 's/^hostname: .*/hostname: edited/' "$1"`)
	if out, _, err := keelson(t, "config", "edit", image); err != nil || !strings.Contains(out, "is changed") {
		t.Fatalf("config edit = %q, %v", out, err)
	}
	if got, err := os.ReadFile(mode); err != nil || string(got) != "-rw-------\n" {
		t.Errorf("the text that is edited has the mode %q, %v", got, err)
	}
	script("true")
	if out, _, err := keelson(t, "config", "edit", image); err != nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("config edit = %q, %v", out, err)
	}
	script(`echo 'hostnme: a' >> "$1"`)
	if _, _, err := keelson(t, "config", "edit", image); err == nil || !strings.Contains(err.Error(), "nothing was written") || !strings.Contains(err.Error(), "unknown key") {
		t.Errorf("config edit with a mistake = %v", err)
	}
	script("exit 3")
	if _, _, err := keelson(t, "config", "edit", image); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("config edit with an editor that fails = %v", err)
	}
	if out, _, err := keelson(t, "config", "edit", image, "--print"); err != nil || !strings.Contains(out, "hostname: edited\n") || strings.Contains(out, "hostnme") {
		t.Errorf("config edit --print = %q, %v", out, err)
	}
}

func TestConfigEditSaysWhenThereIsNothingToEdit(t *testing.T) {
	labImage(t)
	smallimage.Make(t, "empty.img", smallimage.Options{MBR: true})
	for _, args := range [][]string{{"--print"}, {"--hostname", "a"}, {}} {
		if _, _, err := keelson(t, append([]string{"config", "edit", "empty.img"}, args...)...); err == nil || !strings.Contains(err.Error(), "--file server.yaml") {
			t.Errorf("config edit %q = %v, want what to do", args, err)
		}
	}
	// A node has started from this one: its state partition is formatted.
	f, err := os.OpenFile("empty.img", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0x83}, 446+3*16+4); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keelson(t, "config", "edit", "empty.img", "--print"); err == nil || !strings.Contains(err.Error(), "has started from it") {
		t.Errorf("config edit --print = %v, want that the node has started", err)
	}
	if err := os.Remove("lab/secrets.yaml"); err != nil {
		t.Fatal(err)
	}
	if out, _, err := keelson(t, "config", "edit", "empty.img", "--file", "lab/server.yaml"); err != nil || !strings.Contains(out, "at its next start") {
		t.Errorf("config edit --file = %q, %v", out, err)
	}
}
