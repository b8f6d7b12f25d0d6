package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/qemu"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"512M": 512 << 20, "2G": 2 << 30, "1t": 1 << 40,
		"": 0, "G": 0, "2": 0, "-1G": 0, "0M": 0, "2GB": 0, "1.5G": 0, "99999999T": 0,
	} {
		got, err := parseSize(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
}

func TestFlagsThatExcludeEachOther(t *testing.T) {
	image := filepath.Join(t.TempDir(), "a.img")
	for _, args := range [][]string{
		{"run"}, {"run", image, "--snapshot", "--detach"}, {"run", image, "--port", "0"},
		{"run", image, "--memory", "lots"}, {"run", image, "--forward", "80"}, {"run", image, "--forward", "0:80"},
		{"run", image, "--nic", "none", "--forward", "80:80"}, {"run", image, "--disk", "scsi"}, {"run", image, "--firmware", "coreboot"}, {"run", image, "--cpus", "0"},
		{"run", image, "--kubeconfig", image + ".gone"}, {"stop", image},
	} {
		if _, _, err := keelson(t, args...); err == nil {
			t.Errorf("keelson %q = nil, want an error", args)
		}
	}
	if _, err := os.Stat(machineDir(image)); err == nil {
		t.Errorf("%s was made for a machine that cannot start", machineDir(image))
	}
}

func TestRaspberryPiHasItsOwnDefaults(t *testing.T) {
	o := runOptions{image: "a", firmware: "raspi3b", memory: "2G", cpus: 2, disk: "virtio", nic: "none", diskSize: "20G", port: 6443}
	o.fitPi3(func(flag string) bool { return flag == "nic" })
	c, err := o.machine("")
	if err != nil || c.MemoryMB != 1024 || c.CPUs != 4 || c.Disk != qemu.DiskSD || c.NIC != qemu.NICNone {
		t.Errorf("machine = %+v, %v, want a Raspberry Pi 3B without a network card", c, err)
	}
	o = runOptions{firmware: "bios", memory: "2G"}
	o.fitPi3(func(string) bool { return false })
	if o.memory != "2G" || o.disk != "" {
		t.Errorf("a PC was given a Raspberry Pi's defaults: %+v", o)
	}
}

func TestMistakenWordsSayWhatWasExpected(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"biuld"}, `did you mean "build"?`},
		{[]string{"config", "neww"}, `did you mean "new"?`},
		{[]string{"config", "x"}, `"keelson config --help" lists the commands`},
		{[]string{"config", "new"}, "NAME is missing: keelson config new NAME"},
		{[]string{"config", "new", "a", "b"}, `unexpected argument "b", expected: keelson config new NAME`},
		{[]string{"config", "validate"}, "FILE is missing"},
		{[]string{"boards", "pc"}, `unexpected argument "pc"`},
		{[]string{"run"}, "IMAGE is missing"},
		{[]string{"run", "a.img", "--cpu", "2"}, `"keelson run --help" shows the flags`},
		{[]string{"run", "gone.img"}, `"keelson build" makes images`},
		{[]string{"build", "--board", "pcc"}, `unknown board "pcc"; did you mean "pc"?`},
		{[]string{"build", "--board", "pc", "--config", "gone.yaml"}, `"keelson config new NAME" makes NAME/server.yaml`},
	} {
		if _, _, err := keelson(t, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("keelson %q = %v, want %s", tt.args, err, tt.want)
		}
	}
}

func TestKubeconfigIsFoundBesideTheImage(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("homelab/kubeconfig")
	o := runOptions{image: "homelab.img"}
	if got, err := o.findKubeconfig(); err != nil || got != "homelab/kubeconfig" {
		t.Errorf("findKubeconfig = %q, %v", got, err)
	}
	if got := defaultKubeconfig("."); got != "homelab/kubeconfig" {
		t.Errorf("defaultKubeconfig = %q, want the only cluster's", got)
	}
	write("other/kubeconfig")
	if got := defaultKubeconfig("."); got != "" {
		t.Errorf("defaultKubeconfig = %q of two clusters, want none", got)
	}
	write("homelab.img.run/kubeconfig")
	write("other.img.run/kubeconfig")
	if err := os.Chtimes("homelab.img.run/kubeconfig", time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := defaultKubeconfig("."); got != "homelab.img.run/kubeconfig" {
		t.Errorf("defaultKubeconfig = %q, want the machine's that was started last", got)
	}
	if got := machineDir("./x/homelab.img"); got != "x/homelab.img.run" {
		t.Errorf("machineDir = %q", got)
	}
	if _, err := (&runOptions{image: "a", memory: "1G", cpus: 1, diskSize: "1G", port: 6443, nic: string(qemu.NICVirtio)}).machine(""); err != nil {
		t.Errorf("machine: %v", err)
	}
}
