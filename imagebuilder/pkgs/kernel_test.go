package pkgs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// laterKernel puts a kernel into trixie-backports that is split as Debian's are there, and newer versions of other packages.
func (r *repo) laterKernel() {
	const v, d = "7.1-1~bpo13+1", "7.1.0-amd64"
	dir := "usr/lib/modules/" + d + "/"
	r.addLater("linux-image-amd64", v, "amd64", "linux-base-amd64 (= "+v+"), linux-image-"+d+" (= "+v+")")
	r.addLater("linux-image-"+d, v, "amd64", "initramfs-tools, linux-base-"+d+" (= "+v+"), linux-binary-"+d+" (= "+v+"), linux-modules-"+d+" (= "+v+")")
	r.addLater("linux-binary-"+d, v, "amd64", "", dir+"vmlinuz")
	r.addLater("linux-modules-"+d, v, "amd64", "kmod", dir+"kernel/fs/ext4.ko.xz")
	r.addLater("linux-base-"+d, v, "amd64", "", dir+"modules.builtin", dir+"modules.builtin.modinfo", dir+"modules.order", dir+"dtb/vendor/board.dtb")
	for _, arch := range hostArches {
		r.addLater("prog", "2:9.0-1~bpo13+1", arch, "")
	}
}

func TestKernelOfAnotherSuiteBringsNothingElseFromThere(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.laterKernel()
	r.publish("archive")
	o := r.options(t.TempDir())
	o.Spec.Kernel = "linux-image-amd64/trixie-backports"
	o.UpdateLock = filepath.Join(t.TempDir(), "packages.lock")
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range s.Packages() {
		got = append(got, p.Name+"="+p.Version)
	}
	const v = "7.1-1~bpo13+1"
	want := []string{"data=3.0", "linux-base-7.1.0-amd64=" + v, "linux-binary-7.1.0-amd64=" + v, "linux-image-7.1.0-amd64=" + v,
		"linux-image-amd64=" + v, "linux-modules-7.1.0-amd64=" + v, "libprog=1.0~rc1-1", "prog=1:1.0-1"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	// The lock alone gives the same, also when what was joined from several packages is gone.
	if o.Lock, err = os.ReadFile(o.UpdateLock); err != nil {
		t.Fatal(err)
	}
	o.UpdateLock = ""
	r.away.Store(true)
	if err := os.RemoveAll(filepath.Join(o.CacheDir, "kernels")); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	k, err := s.Kernel()
	if err != nil {
		t.Fatal(err)
	}
	if k.Version != "7.1.0-amd64" || k.Package.Name != "linux-modules-7.1.0-amd64" || len(k.Names) != 4 {
		t.Errorf("Kernel = %+v, want version 7.1.0-amd64, its modules' package, and four packages", k)
	}
	for _, f := range []string{k.Image, filepath.Join(k.Modules, "kernel/fs/ext4.ko.xz"), filepath.Join(k.Modules, "modules.builtin"),
		filepath.Join(k.Modules, "modules.builtin.modinfo"), filepath.Join(k.Modules, "modules.order"), filepath.Join(k.DeviceTrees, "vendor/board.dtb")} {
		if text, err := os.ReadFile(f); err != nil || string(text) != v {
			t.Errorf("%s = %q, %v, want the file of the kernel's packages", f, text, err)
		}
	}
}

func TestGoneKernelOfAnotherSuiteIsComparedWithThatSuite(t *testing.T) {
	r := newRepo(t)
	r.standard()
	r.laterKernel()
	r.publish("archive")
	o := r.options(t.TempDir())
	o.Spec.Kernel = "linux-image-amd64/trixie-backports"
	o.UpdateLock = filepath.Join(t.TempDir(), "packages.lock")
	if _, err := Open(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	var err error
	if o.Lock, err = os.ReadFile(o.UpdateLock); err != nil {
		t.Fatal(err)
	}
	o.UpdateLock = ""
	r.addLater("linux-image-amd64", "7.2-1~bpo13+1", "amd64", "linux-image-7.2.0-amd64")
	r.publish("archive")
	o.CacheDir = t.TempDir()
	_, err = Open(context.Background(), o)
	var gone *GoneError
	if !errors.As(err, &gone) || len(gone.Gone) != 1 || gone.Gone[0].Available != "7.2-1~bpo13+1" {
		t.Errorf("Open = %v, want *GoneError that names 7.2-1~bpo13+1 of trixie-backports", err)
	}
}
