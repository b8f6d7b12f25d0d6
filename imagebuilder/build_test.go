package imagebuilder

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/cluster/generate"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder/extra"
	"github.com/keelson-os/keelson/imagebuilder/oci"
	"github.com/keelson-os/keelson/imagebuilder/output"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/rootfs"
	"github.com/keelson-os/keelson/imagebuilder/vmimage"

	"github.com/keelson-os/keelson/tests/reftool"
)

// helperEnv holds the options (JSON) of a build that a test wants in a process of its own.
const helperEnv = "KEELSON_TEST_BUILD"

// helper is such a build.
type helper struct {
	Options Options
	Umask   int
	// Tmpfs, if not empty, is a folder to mount a tmpfs of TmpfsSize on first.
	Tmpfs, TmpfsSize string
}

func TestMain(m *testing.M) {
	if text := os.Getenv(helperEnv); text != "" {
		if err := runHelper(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runHelper(text string) error {
	var h helper
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return err
	}
	if h.Tmpfs != "" {
		if err := syscall.Mount("tmpfs", h.Tmpfs, "tmpfs", 0, "size="+h.TmpfsSize); err != nil {
			return err
		}
		if err := os.WriteFile(h.Options.Out, []byte("old"), 0o600); err != nil {
			return err
		}
	}
	syscall.Umask(h.Umask)
	_, err := Build(context.Background(), h.Options)
	if h.Tmpfs != "" {
		left, lerr := os.ReadDir(h.Tmpfs)
		old, oerr := os.ReadFile(h.Options.Out)
		fmt.Printf("files left: %d, old file: %q\n", len(left), old)
		err = errors.Join(err, lerr, oerr)
	}
	return err
}

// standIns makes a folder of small programs under the names of the node's.
func standIns(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	pause := filepath.Join(dir, "pause")
	cmd := exec.Command("go", "build", "-o", pause, "github.com/keelson-os/keelson/cmd/pause")
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		reftool.Missing(t, fmt.Errorf("go build cmd/pause: %v\n%s", err, out))
	}
	for _, name := range []string{"init", "node", "machined", "runc", "containerd-shim-runc-v2", "bridge", "host-local", "loopback", "portmap", "traefik"} {
		if err := os.Link(pause, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newCache makes a cache that shares fetched packages, but nothing made of them, with the user's.
func newCache(t *testing.T) string {
	t.Helper()
	shared, err := pkgs.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"apt", "debs", "unpacked", "tools"} {
		if err := os.MkdirAll(filepath.Join(shared, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(shared, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newConfig makes a cluster and returns its server's configuration.
func newConfig(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	if _, err := generate.New(dir, generate.Options{Name: "home", Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "server.yaml")
}

// build runs a build in a process of its own.
func build(t *testing.T, h helper, dir string, env ...string) (string, error) {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), helperEnv+"="+string(text)), env...)
	if h.Tmpfs != "" {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sameFile fails the test unless two files hold the same bytes.
func sameFile(t *testing.T, a, b string) {
	t.Helper()
	var readers [2]*os.File
	for i, name := range []string{a, b} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		readers[i] = f
	}
	const block = 1 << 20
	x, y := make([]byte, block), make([]byte, block)
	for at := int64(0); ; at += block {
		n, errX := io.ReadFull(readers[0], x)
		m, errY := io.ReadFull(readers[1], y)
		if !bytes.Equal(x[:n], y[:m]) {
			i := 0
			for i < min(n, m) && x[i] == y[i] {
				i++
			}
			t.Errorf("%s and %s differ at byte %d", a, b, at+int64(i))
			return
		}
		if errX != nil || errY != nil {
			return
		}
	}
}

// TestBuildTwiceGivesSameBytes builds an image in two processes that have nothing in common but
// the inputs, and has every format checked by the tool that defines it. Then it fills the disk.
func TestBuildTwiceGivesSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	board, err := boards.Load("pc")
	if err != nil {
		t.Fatal(err)
	}
	here := t.TempDir()
	app := filepath.Join(here, "app.tar")
	if err := createFile(app, func(f *os.File) error {
		return oci.WriteArchive(f, oci.Image{Ref: "example.com/app:1", Arch: board.Arch, Files: []oci.File{{Path: "app", Mode: 0o755, Data: []byte("app")}}}, time.Unix(0, 0))
	}); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(here, "app.yaml")
	if err := os.WriteFile(manifest, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Board: board.Name, Version: "1.2.3", Serial: 7, MinimumSerial: 5, ConfigPath: newConfig(t), Programs: standIns(t, board.Arch),
		AllowMoved:  true, // what is tested is the builder, not the mirror's age
		EmbedImages: []string{app, oci.BusyboxRef}, Manifests: []string{manifest}, Kargs: []string{"mitigations=off"},
		Modules: []string{"i2c-dev", "fs/minix"},
	}

	first, second := o, o
	// The user's own files lie in different folders as well.
	first.Overlays, first.Files = userFilesFor(t, 0o700)
	second.Overlays, second.Files = userFilesFor(t, 0o755)
	first.CacheDir, second.CacheDir = newCache(t), newCache(t)
	first.Out, second.Out = filepath.Join(t.TempDir(), "a.img"), filepath.Join(t.TempDir(), "a.img")
	if out, err := build(t, helper{Options: first, Umask: 0o022}, here, "TZ=UTC", "GOMAXPROCS=1", "LC_ALL=C"); err != nil {
		if strings.Contains(out, pkgs.ErrUnavailable.Error()) {
			reftool.Missing(t, fmt.Errorf("no packages: %s", out))
		}
		t.Fatalf("first build: %v\n%s", err, out)
	}
	if out, err := build(t, helper{Options: second, Umask: 0o077}, "/", "TZ=Asia/Tokyo", "GOMAXPROCS=5", "LC_ALL=C.UTF-8", "HOME="+t.TempDir()); err != nil {
		t.Fatalf("second build: %v\n%s", err, out)
	}
	for _, name := range []string{"a.img", "a.spdx.json", "a.manifest.json"} {
		sameFile(t, filepath.Join(filepath.Dir(first.Out), name), filepath.Join(filepath.Dir(second.Out), name))
	}
	if st, err := os.Stat(first.Out); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("image with secrets has mode %v (%v), want 0600", st.Mode(), err)
	}

	compressed := first
	compressed.Compress = "zst"
	if out, err := build(t, helper{Options: compressed, Umask: 0o022}, here, "GOMAXPROCS=1"); err != nil {
		t.Fatalf("compressed build: %v\n%s", err, out)
	}
	compressed.CacheDir, compressed.Out = second.CacheDir, second.Out
	if out, err := build(t, helper{Options: compressed, Umask: 0o022}, here, "GOMAXPROCS=3"); err != nil {
		t.Fatalf("compressed build: %v\n%s", err, out)
	}
	sameFile(t, first.Out+".zst", second.Out+".zst")

	t.Run("zstd", func(t *testing.T) {
		plain := filepath.Join(t.TempDir(), "a.img")
		if out, err := exec.Command(reftool.Need(t, "zstd", "zstd"), "-q", "-d", first.Out+".zst", "-o", plain).CombinedOutput(); err != nil {
			t.Fatalf("zstd -d: %v\n%s", err, out)
		}
		sameFile(t, first.Out, plain)
	})
	checkImage(t, first.Out)
	t.Run("formats", func(t *testing.T) { formats(t, first, second) })
	t.Run("bundle", func(t *testing.T) { bundles(t, first, second) })
	t.Run("disk full", func(t *testing.T) { diskFull(t, first) })
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		again := first
		again.Out = filepath.Join(t.TempDir(), "a.img")
		if _, err := Build(ctx, again); !errors.Is(err, context.Canceled) {
			t.Errorf("Build = %v, want context.Canceled", err)
		}
		if left, err := os.ReadDir(filepath.Dir(again.Out)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	t.Run("nothing changed", func(t *testing.T) {
		began := time.Now()
		if _, err := Build(context.Background(), first); err != nil {
			t.Fatal(err)
		}
		t.Logf("warm build: %v", time.Since(began))
	})
}

// readManifest reads what lies beside an image.
func readManifest(t *testing.T, image string) manifest {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(image, ".img") + ".manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// checkImage runs the reference tools on an image and its parts.
func checkImage(t *testing.T, image string) {
	m := readManifest(t, image)
	extract := func(t *testing.T, name string, size int64) string {
		for _, p := range m.Layout {
			if p.Name != name {
				continue
			}
			file := filepath.Join(t.TempDir(), name+".img")
			in, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if err := createFile(file, func(f *os.File) error {
				_, err := io.Copy(f, io.NewSectionReader(in, p.Offset, min(p.Size, size)))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return file
		}
		t.Fatalf("no partition %s", name)
		return ""
	}
	run := func(t *testing.T, name, pkg string, args ...string) string {
		out, err := exec.Command(reftool.Need(t, name, pkg), args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	t.Run("sgdisk", func(t *testing.T) {
		if out := run(t, "sgdisk", "gdisk", "-v", image); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v:\n%s", out)
		}
	})
	t.Run("fsck.vfat", func(t *testing.T) {
		esp := extract(t, "esp", 1<<40)
		run(t, "fsck.vfat", "-n", esp)
		out := run(t, "mdir", "mtools", "-b", "-/", "-i", esp, "::/")
		for _, want := range []string{
			"EFI/BOOT/BOOTX64.EFI", "EFI/Linux/keelson_1_a.efi", "loader/loader.conf", config.FileName, config.SecretsName,
			"images/app.tar", "images/busybox.tar", "manifests/app.yaml",
		} {
			if !strings.Contains(strings.ToLower(out), strings.ToLower(want)) {
				t.Errorf("no %s in the ESP:\n%s", want, out)
			}
		}
		uki := filepath.Join(t.TempDir(), "uki.efi")
		run(t, "mcopy", "mtools", "-i", esp, "::EFI/Linux/keelson_1_a.efi", uki)
		sections := run(t, "objdump", "binutils", "-h", uki)
		for _, want := range []string{".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".sbat"} {
			if !strings.Contains(sections, want) {
				t.Errorf("no section %s in the UKI:\n%s", want, sections)
			}
		}
		initrd := filepath.Join(t.TempDir(), "initrd")
		if err := os.WriteFile(initrd, ukiSection(t, uki, ".initrd"), 0o600); err != nil {
			t.Fatal(err)
		}
		list := run(t, "sh", "dash", "-c", `zstd -q -d -c "$1" | cpio -t --quiet`, "sh", initrd)
		if !strings.Contains(list, "\ninit\n") || !strings.Contains(list, "modules.dep\n") {
			t.Errorf("no init and modules.dep in the initramfs:\n%s", list)
		}
		if line := string(ukiSection(t, uki, ".cmdline")); line != m.Cmdline {
			t.Errorf("the UKI's command line is %q, that in the manifest %q", line, m.Cmdline)
		}
		if text := string(ukiSection(t, uki, ".osrel")); strings.Contains(text, "VERSION") || strings.Contains(text, m.Version) {
			t.Errorf("the UKI's os-release has a version, by which systemd-boot would sort: %q", text)
		}
	})
	t.Run("veritysetup", func(t *testing.T) {
		root := extract(t, "root-a", m.Root.WithVerity)
		out := run(t, "veritysetup", "cryptsetup-bin", "verify", root, root, m.RootHash, fmt.Sprintf("--hash-offset=%d", m.Root.Filesystem))
		t.Log(out)
		if m.Root.Format == string(rootfs.Squashfs) {
			run(t, "unsquashfs", "-q", "-n", "-ll", root)
			checkAdded(t, root, image, &m)
		} else {
			run(t, "fsck.erofs", root)
		}
	})
	for _, want := range []string{" mitigations=off", " keelson.board=pc ", " keelson.version=1.2.3 ", " keelson.serial=7:5 ", " keelson.keys=" + strings.Join(m.Keys, ",") + " "} {
		if !strings.Contains(m.Cmdline, want) {
			t.Errorf("command line %q lacks %q", m.Cmdline, want)
		}
	}
	if len(m.Keys) != 2 || m.Serial != 7 || m.MinimumSerial != 5 {
		t.Errorf("manifest has keys %q, serial %d and minimum %d, want the cluster's two, 7 and 5", m.Keys, m.Serial, m.MinimumSerial)
	}
}

// userFilesFor makes an overlay and a file for --overlay and --file, whose programs have the mode perm.
func userFilesFor(t *testing.T, perm os.FileMode) (overlays, files []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"site/etc/nsswitch.conf": "hosts: files dns\n", "site/opt/bin/tool": "tool", "app.conf": "x=1\n"} {
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o755)
		if err == nil {
			err = os.WriteFile(file, []byte(text), perm&0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "site/opt/bin/tool"), perm), os.Symlink("tool", filepath.Join(dir, "site/opt/bin/t"))); err != nil {
		t.Fatal(err)
	}
	return []string{filepath.Join(dir, "site")}, []string{filepath.Join(dir, "app.conf") + ":/etc/my/"}
}

// checkAdded demands that what userFilesFor made, and the modules, are in the root, in the manifest and in the bill of materials.
func checkAdded(t *testing.T, root, image string, m *manifest) {
	dir := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command(reftool.Need(t, "unsquashfs", "squashfs-tools"), "-q", "-n", "-no-xattrs", "-d", dir, root, "etc", "opt", "usr/lib/modules").CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, out)
	}
	bill, err := os.ReadFile(strings.TrimSuffix(image, ".img") + ".spdx.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []addedFile{
		{Source: "file app.conf", Path: "/etc/my/app.conf", Mode: "0644", Size: 4, SHA256: sha256Hex([]byte("x=1\n"))},
		{Source: "overlay site", Path: "/etc/nsswitch.conf", Mode: "0644", Size: 17, SHA256: sha256Hex([]byte("hosts: files dns\n")), Replaces: "keelson overlay base"},
		{Source: "overlay site", Path: "/opt/bin/t", Link: "tool"},
		{Source: "overlay site", Path: "/opt/bin/tool", Mode: "0755", Size: 4, SHA256: sha256Hex([]byte("tool"))},
	} {
		if !slices.Contains(m.Files, want) {
			t.Errorf("the manifest lacks %+v among %+v", want, m.Files)
		}
		if !bytes.Contains(bill, []byte(`"./`+want.Path[1:]+`"`)) || !bytes.Contains(bill, []byte(`"name": "`+want.Source+`"`)) {
			t.Errorf("the bill of materials lacks %s of %s", want.Path, want.Source)
		}
		st, err := os.Lstat(filepath.Join(dir, want.Path))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fmt.Sprintf("%04o", st.Mode().Perm()); want.Mode != "" && got != want.Mode {
			t.Errorf("%s has mode %s, want %s", want.Path, got, want.Mode)
		}
		if data, err := os.ReadFile(filepath.Join(dir, want.Path)); want.Mode != "" && (err != nil || sha256Hex(data) != want.SHA256) {
			t.Errorf("%s has the content %q (%v)", want.Path, data, err)
		}
	}
	if list, err := os.ReadFile(filepath.Join(dir, "etc/modules-load.d/keelson.conf")); err != nil || !strings.HasSuffix(string(list), "\ni2c_dev\n") {
		t.Errorf("modules to load: %q, %v, want i2c_dev", list, err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "usr/lib/modules/*/kernel/fs/minix/minix.ko*")); err != nil || len(files) != 1 {
		t.Errorf("modules minix: %q, %v, want one", files, err)
	}
	if want := []addedModule{{"i2c-dev", "user", true}, {"fs/minix", "user", false}}; !slices.Equal(m.Modules, want) {
		t.Errorf("modules in the manifest are %+v, want %+v", m.Modules, want)
	}
}

// formats builds the image of first, which is there in raw, in all other formats, and again from second's cache.
func formats(t *testing.T, first, second Options) {
	qemu := reftool.Need(t, "qemu-img", "qemu-utils")
	for format, driver := range map[string]string{"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc"} {
		var made [2]string
		for i, o := range []Options{first, second} {
			dir := t.TempDir()
			o.Out = filepath.Join(dir, "a."+format)
			r, err := Build(context.Background(), o)
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			made[i] = r.Image
			st, err := os.Stat(r.Image)
			if err != nil || st.Size() != r.Size || st.Mode().Perm() != 0o600 || string(r.Format) != format {
				t.Errorf("%s: %v, %v, want a file of %d bytes and mode 0600; format %s", format, st, err, r.Size, r.Format)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 3 {
				t.Errorf("%s: %v, %v in the folder, want the image and two files beside it", format, left, err)
			}
		}
		sameFile(t, made[0], made[1])
		out, err := exec.Command(qemu, "compare", "-f", "raw", "-F", driver, first.Out, made[0]).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "identical") || strings.Contains(string(out), "Warning") {
			t.Errorf("qemu-img compare of %s: %v\n%s", format, err, out)
		}
		if format == "vhd" { // qemu-img has no check for those
			continue
		}
		if out, err := exec.Command(qemu, "check", "-f", driver, made[0]).CombinedOutput(); err != nil {
			t.Errorf("qemu-img check of %s: %v\n%s", format, err, out)
		}
	}
}

// ukiSection returns what the stub sees of a section: VirtualSize bytes, without the padding.
func ukiSection(t *testing.T, file, name string) []byte {
	f, err := pe.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(name)
	if s == nil {
		t.Fatalf("%s has no section %s", file, name)
	}
	data, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return data[:s.VirtualSize]
}

// diskFull builds to a file system too small for the image.
func diskFull(t *testing.T, o Options) {
	dir := t.TempDir()
	o.Out = filepath.Join(dir, "full.img")
	out, err := build(t, helper{Options: o, Umask: 0o022, Tmpfs: dir, TmpfsSize: "6m"}, "/")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		reftool.Missing(t, fmt.Errorf("no user namespaces here: %v", err))
	}
	if err == nil || !strings.Contains(out, "needed") || !strings.Contains(out, "free") {
		t.Errorf("build to a full disk: %v\n%s", err, out)
	}
	if !strings.Contains(out, `files left: 1, old file: "old"`) {
		t.Errorf("what is left after a full disk:\n%s", out)
	}
}

func TestBuildRefusesBadInputBeforeLongWork(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	out := filepath.Join(dir, "a.img")
	var unknown *boards.UnknownError
	var mistakes *config.Errors
	for _, tt := range []struct {
		name string
		o    Options
		want func(error) bool
		text string
	}{
		{"unknown board", Options{Board: "pv", Out: out}, func(err error) bool { return errors.As(err, &unknown) && unknown.Nearest == "pc" }, "pc"},
		{"device", Options{Board: "pc", Out: "/dev/null"}, func(err error) bool { return errors.Is(err, output.ErrTarget) }, "/dev/null"},
		{"directory", Options{Board: "pc", Out: dir}, func(err error) bool { return errors.Is(err, output.ErrTarget) }, dir},
		{"missing directory", Options{Board: "pc", Out: filepath.Join(dir, "no", "a.img")}, func(err error) bool { return errors.Is(err, output.ErrTarget) }, "make it first"},
		{"no programs", Options{Board: "pc", Out: out, Programs: filepath.Join(dir, "no")}, func(error) bool { return true }, "make build"},
		{"no configuration", Options{Board: "pc", Out: out, ConfigPath: filepath.Join(dir, "no.yaml")}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, "no.yaml"},
		{"bad configuration", Options{Board: "pc", Out: out, ConfigPath: write("bad.yaml", "hostnam: x\n")}, func(err error) bool { return errors.As(err, &mistakes) }, "bad.yaml:1"},
		{"no object", Options{Board: "pc", Out: out, Manifests: []string{write("x.yaml", "a: b\n")}}, func(error) bool { return true }, "apiVersion"},
		{"broken manifest", Options{Board: "pc", Out: out, Manifests: []string{write("y.yaml", "a: [\n")}}, func(error) bool { return true }, "y.yaml"},
		{"manifest name", Options{Board: "pc", Out: out, Manifests: []string{write("x.txt", "apiVersion: v1\nkind: A\n")}}, func(error) bool { return true }, ".yaml"},
		{"own root hash", Options{Board: "pc", Out: out, Kargs: []string{"roothash=00"}}, func(error) bool { return true }, "roothash"},
		{"own keys", Options{Board: "pc", Out: out, Kargs: []string{"keelson.keys=x"}}, func(error) bool { return true }, "--trust"},
		{"version", Options{Board: "pc", Out: out, Version: "1 2"}, func(error) bool { return true }, `--version "1 2"`},
		{"serial", Options{Board: "pc", Out: out, Serial: -1}, func(error) bool { return true }, "--serial -1"},
		{"minimum serial", Options{Board: "pc", Out: out, Serial: 3, MinimumSerial: 4}, func(error) bool { return true }, "--minimum-serial 4"},
		{"no key there", Options{Board: "pc", Out: out, TrustKeys: []string{filepath.Join(dir, "no.pub")}}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, "--trust"},
		{"no key in it", Options{Board: "pc", Out: out, TrustKeys: []string{write("bad.pub", "x")}}, func(error) bool { return true }, "bad.pub"},
		{"compression", Options{Board: "pc", Out: out, Compress: "gz"}, func(error) bool { return true }, "zst"},
		{"format", Options{Board: "pc", Out: out, Format: "iso"}, func(err error) bool { return errors.Is(err, vmimage.ErrFormat) }, "read-only"},
		{"format of a name", Options{Board: "pc", Out: filepath.Join(dir, "a.vdi")}, func(err error) bool { return errors.Is(err, vmimage.ErrFormat) }, "vmdk"},
		{"format and name", Options{Board: "pc", Out: out, Format: "qcow2"}, func(err error) bool { return errors.Is(err, vmimage.ErrFormat) }, ".qcow2"},
		{"format and compression", Options{Board: "pc", Out: filepath.Join(dir, "a.vhd"), Compress: "zst"}, func(error) bool { return true }, "--compress zst: not for vhd"},
		{"compressed name of a format", Options{Board: "pc", Out: filepath.Join(dir, "a.qcow2.zst")}, func(error) bool { return true }, "--compress zst: not for qcow2"},
		{"module with options", Options{Board: "pc", Out: out, Modules: []string{"a b=c"}}, func(error) bool { return true }, "--module \"a b=c\""},
		{"module pattern", Options{Board: "pc", Out: out, Modules: []string{"fs/[a"}}, func(err error) bool { return errors.Is(err, filepath.ErrBadPattern) }, "fs/[a"},
		{"file", Options{Board: "pc", Out: out, Files: []string{"a.conf"}}, func(err error) bool { return errors.Is(err, extra.ErrSyntax) }, "--file a.conf"},
		{"file over a mount", Options{Board: "pc", Out: out, Files: []string{write("r", "") + ":/var/log/r"}}, func(err error) bool { return errors.Is(err, extra.ErrBelongs) }, "/var/log/r"},
		{"overlay", Options{Board: "pc", Out: out, Overlays: []string{filepath.Join(dir, "none")}}, func(err error) bool { return errors.Is(err, fs.ErrNotExist) }, "--overlay"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.CacheDir = t.TempDir()
			if tt.o.Version == "" {
				tt.o.Version = "1"
			}
			_, err := Build(context.Background(), tt.o)
			if err == nil || !tt.want(err) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Build = %v, want an error with %q", err, tt.text)
			}
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is there", out)
			}
		})
	}
}

func TestEmbeddedArchivesAreChecked(t *testing.T) {
	board, err := boards.Load("pc")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	archive := func(name, arch string) string {
		file := filepath.Join(dir, name)
		if err := createFile(file, func(f *os.File) error {
			return oci.WriteArchive(f, oci.Pause([]byte("x"), arch), time.Unix(0, 0))
		}); err != nil {
			t.Fatal(err)
		}
		return file
	}
	text := filepath.Join(dir, "text.tar")
	if err := os.WriteFile(text, []byte("not an archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &builder{board: board, cache: t.TempDir(), progress: silent{}, memo: openMemo(filepath.Join(dir, "memo"))}
	for _, tt := range []struct {
		name string
		give []string
		want error
	}{
		{"good", []string{archive("good.tar", "amd64")}, nil},
		{"other architecture", []string{archive("arm.tar", "arm64")}, oci.ErrPlatform},
		{"text", []string{text}, oci.ErrNotArchive},
		{"directory", []string{dir}, oci.ErrNotArchive},
		{"not there", []string{filepath.Join(dir, "no.tar")}, fs.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.opts.EmbedImages = tt.give
			for range 2 { // the second time from the cache
				if _, err := b.embedImages(context.Background(), nil); !errors.Is(err, tt.want) {
					t.Errorf("embedImages = %v, want %v", err, tt.want)
				}
			}
		})
	}
	b.opts.EmbedImages = []string{filepath.Join(dir, "good.tar"), filepath.Join(dir, "good.tar")}
	if _, err := b.embedImages(context.Background(), nil); err == nil {
		t.Error("one name twice: got nil, want an error")
	}
}

func TestMemoSeesEveryChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "program")
	old := time.Now().Add(-time.Hour)
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	m := openMemo(filepath.Join(dir, "memo"))
	m.now = func() time.Time { return time.Now().Add(time.Hour) } // so that it remembers
	write("one")
	first, err := m.sum(file)
	if err != nil {
		t.Fatal(err)
	}
	write("two") // same size, same mtime, same inode
	second, err := m.sum(file)
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("a change with the old size and mtime was not seen")
	}
	if err := m.save(); err != nil {
		t.Fatal(err)
	}
	m = openMemo(m.file)
	if again, err := m.sum(file); err != nil || again != second {
		t.Errorf("after save: %x, %v; want %x", again, err, second)
	}
	if m.changed {
		t.Error("the file was read again, not remembered")
	}
}

func TestNamesBesideTheImage(t *testing.T) {
	for _, tt := range []struct{ out, compress, image, manifest string }{
		{"homelab.img", "", "homelab.img", "homelab.manifest.json"},
		{"homelab.img", "zst", "homelab.img.zst", "homelab.manifest.json"},
		{"homelab.img.zst", "", "homelab.img.zst", "homelab.manifest.json"},
		{"homelab.qcow2", "", "homelab.qcow2", "homelab.manifest.json"},
		{"homelab.vhd", "", "homelab.vhd", "homelab.manifest.json"},
		{"dir.img/a", "zst", "dir.img/a.zst", "dir.img/a.manifest.json"},
		{"dir/.img", "", "dir/.img", "dir/.img.manifest.json"},
	} {
		o := Options{Out: tt.out, Compress: tt.compress}
		image, _, manifest, _ := o.names()
		if image != tt.image || manifest != tt.manifest {
			t.Errorf("names of %s, %q = %s, %s; want %s, %s", tt.out, tt.compress, image, manifest, tt.image, tt.manifest)
		}
	}
}

func TestCompressOfAnyContent(t *testing.T) {
	zstd := reftool.Need(t, "zstd", "zstd")
	for _, size := range []int64{0, 1, frameSize - 1, frameSize, frameSize + 1, 5*frameSize + 77} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			in, err := os.Create(filepath.Join(dir, "in"))
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if err := in.Truncate(size); err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < size; at += 2*frameSize + 1000 {
				if _, err := in.WriteAt([]byte{1}, at); err != nil {
					t.Fatal(err)
				}
			}
			var last int64
			packed := filepath.Join(dir, "in.zst")
			if err := createFile(packed, func(f *os.File) error {
				n, _, err := compress(context.Background(), f, in, size, func(n int64) { last = n })
				if st, serr := f.Stat(); serr == nil && st.Size() != n {
					t.Errorf("compress says %d bytes, the file has %d", n, st.Size())
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if last != size {
				t.Errorf("last progress is %d, want %d", last, size)
			}
			if size == 0 {
				return
			}
			if out, err := exec.Command(zstd, "-q", "-d", packed, "-o", packed+".plain").CombinedOutput(); err != nil {
				t.Fatalf("zstd -d: %v\n%s", err, out)
			}
			sameFile(t, in.Name(), packed+".plain")
		})
	}
}
