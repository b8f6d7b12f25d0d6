package qemu

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

func TestArgumentsOfEveryMachine(t *testing.T) {
	uefi := firmware{code: "/fw/a,b.fd", vars: "/fw/vars.fd"}
	kernel := kernelFiles{kernel: kernelName, initrd: initrdName, cmdline: "quiet console=ttyAMA0,115200"}
	pi := kernel
	pi.tree = treeName
	forwards := []Forward{{Guest: 6443, Host: 7443}}
	for _, tt := range []struct {
		name     string
		p        Platform
		fw       firmware
		k        kernelFiles
		cfg      Config
		accel    Accel
		with     []string // each is there: an option and its value, or the end of one
		without  []string // none of these is in any argument
		forwards []Forward
	}{
		{"PC with UEFI", Platform{amd64, FirmwareUEFI}, uefi, kernelFiles{}, Config{}, AccelTCG,
			[]string{"-machine q35,vmport=off", "-cpu max,-cx16,-la57,-smap,-smep,-pku", "-accel tcg,thread=multi",
				"-drive if=pflash,unit=0,format=raw,readonly=on,file=/fw/a,,b.fd", "-drive if=pflash,unit=1,format=raw,file=vars.fd",
				"-device virtio-blk-pci,drive=disk,bootindex=0", "-device virtio-net-pci,romfile=,id=nic0,netdev=net0",
				"-netdev user,id=net0,hostfwd=tcp:127.0.0.1:7443-:6443", "-device virtio-rng-pci"},
			[]string{"-kernel", "-bios", "xhci"}, forwards},
		{"PC with BIOS, SATA disk", Platform{amd64, FirmwareBIOS}, firmware{}, kernelFiles{}, Config{Disk: DiskSATA, NIC: NICE1000E, Isolated: true}, AccelKVM,
			[]string{"-machine q35,vmport=off", "-accel kvm", "-cpu host", "-device ide-hd,bus=ide.0,drive=disk,bootindex=0", "-device e1000e,romfile=,id=nic0,netdev=net0",
				"-netdev user,id=net0,restrict=on"},
			[]string{"pflash", "-bios", "-kernel", "tcg"}, nil},
		{"arm64 with UEFI, SATA disk", Platform{arm64, FirmwareUEFI}, uefi, kernelFiles{}, Config{Disk: DiskSATA, NIC: NICNone}, AccelTCG,
			[]string{"-machine virt,gic-version=max", "-cpu cortex-a72", "-drive if=pflash,unit=1,format=raw,file=vars.fd",
				"-device ahci,id=ahci", "-device ide-hd,bus=ahci.0,drive=disk,bootindex=0", "-nic none"},
			[]string{"cx16", "-kernel", "netdev"}, nil},
		{"arm64 with U-Boot, NVMe disk", Platform{arm64, FirmwareUBoot}, firmware{bios: "/u-boot.bin"}, kernelFiles{}, Config{Disk: DiskNVMe}, AccelTCG,
			[]string{"-machine virt,gic-version=max,acpi=off", "-bios /u-boot.bin", "-device nvme,serial=keelson,drive=disk,bootindex=0"},
			[]string{"pflash", "-kernel"}, nil},
		{"arm64 without a firmware, USB disk and card", Platform{arm64, FirmwareNone}, firmware{}, kernel, Config{Disk: DiskUSB, NIC: NICUSB}, AccelTCG,
			[]string{"-kernel linux", "-initrd initrd.img", "-append quiet console=ttyAMA0,115200", "-device qemu-xhci,id=xhci",
				"-device usb-storage,bus=xhci.0,drive=disk,bootindex=0", "-device usb-net,id=nic0,netdev=net0"},
			[]string{"-dtb", "pflash", "-bios"}, nil},
		{"Raspberry Pi 3B", Platform{arm64, FirmwarePi3}, firmware{}, pi, Config{}, AccelTCG,
			[]string{"-machine raspi3b", "-m 1024", "-smp 4", "-dtb board.dtb", "-serial null", "-serial chardev:serial", "-device usb-net,id=nic0,netdev=net0",
				"-drive if=sd,format=qcow2,file=disk.qcow2,cache=writeback,discard=unmap,detect-zeroes=unmap"},
			[]string{"-cpu", "virtio", "xhci", "if=none"}, forwards},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.cfg.fit(tt.p); err != nil {
				t.Fatal(err)
			}
			tt.cfg.Args = []string{"-extra"}
			args := tt.cfg.arguments(tt.p, tt.fw, tt.k, tt.forwards, tt.accel)
			line := " " + strings.Join(args, " ") + " "
			for _, w := range tt.with {
				if !strings.Contains(line, " "+w+" ") {
					t.Errorf("no %q in %q", w, args)
				}
			}
			for _, w := range tt.without {
				if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, w) }) {
					t.Errorf("%q in %q", w, args)
				}
			}
			if args[len(args)-1] != "-extra" {
				t.Errorf("the caller's arguments are not last: %q", args)
			}
		})
	}
}

func TestMachinesRefuseWhatTheyDoNotHave(t *testing.T) {
	for _, tt := range []struct {
		p   Platform
		cfg Config
	}{
		{Platform{arm64, FirmwarePi3}, Config{MemoryMB: 2048}},
		{Platform{arm64, FirmwarePi3}, Config{CPUs: 2}},
		{Platform{arm64, FirmwarePi3}, Config{Disk: DiskVirtio}},
		{Platform{arm64, FirmwarePi3}, Config{NIC: NICE1000E}},
		{Platform{arm64, FirmwarePi3}, Config{Accel: AccelKVM}},
		{Platform{amd64, FirmwareUEFI}, Config{Disk: DiskSD}},
	} {
		if err := tt.cfg.fit(tt.p); err == nil {
			t.Errorf("fit(%v) of %+v = nil, want an error", tt.p, tt.cfg)
		}
	}
	for _, c := range []Config{
		{}, {Image: "a"}, {Image: "a", Dir: "b", MemoryMB: 100}, {Image: "a", Dir: "b", CPUs: -1}, {Image: "a", Dir: "b", Disk: "scsi"},
		{Image: "a", Dir: "b", NIC: "e1000"}, {Image: "a", Dir: "b", Firmware: "coreboot"}, {Image: "a", Dir: "b", NIC: NICNone, LinkDown: true},
	} {
		if err := c.complete(); err == nil {
			t.Errorf("complete of %+v = nil, want an error", c)
		}
	}
}

func TestAnSDCardIsAPowerOfTwo(t *testing.T) {
	for _, tt := range []struct{ disk, image, want int64 }{
		{20 << 30, 2 << 30, 32 << 30}, {8 << 30, 2 << 30, 8 << 30}, {1, 2<<30 + 1, 4 << 30},
	} {
		c := Config{DiskSize: tt.disk, Disk: DiskSD}
		if got := c.diskSize(tt.image); got != tt.want {
			t.Errorf("diskSize = %d for %d over an image of %d, want %d", got, tt.disk, tt.image, tt.want)
		}
	}
	c := Config{DiskSize: 1, Disk: DiskVirtio}
	if got := c.diskSize(3<<20 + 1); got != 4<<20 {
		t.Errorf("diskSize = %d, want whole mebibytes", got)
	}
}

func TestMissingPartsOfTheHostNameTheirPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := CheckHost(Platform{arm64, FirmwareUEFI}, Platform{amd64, FirmwareBIOS})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("CheckHost = %v, want ErrMissing", err)
	}
	for _, pkg := range []string{"qemu-system-arm", "qemu-system-x86", "qemu-utils"} {
		if !strings.Contains(err.Error(), pkg+" ") {
			t.Errorf("CheckHost names no package %s: %v", pkg, err)
		}
	}
	if _, err := findFirmware(Platform{amd64, FirmwareBIOS}); err != nil {
		t.Errorf("a BIOS comes with QEMU: %v", err)
	}
}

// TestPreparePi3 makes all that a Raspberry Pi 3B starts from, except QEMU.
func TestPreparePi3FromACompressedImage(t *testing.T) {
	zstd, qemuImg := reftool.Need(t, "zstd", "zstd"), reftool.Need(t, "qemu-img", "qemu-utils")
	reftool.Need(t, "qemu-system-aarch64", "qemu-system-arm")
	content := files("boot.scr", pi3Tree, slotKernel, slotInitrd)
	content[slotEnv] = "keelson_args=roothash=00 console=ttyAMA0 console=ttyS1,115200 console=tty0\n"
	raw := testImage(t, "mbr", false, content)
	image := raw + ".zst"
	if out, err := exec.Command(zstd, "-q", raw, "-o", image).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, err := New(Config{Image: image, Dir: filepath.Join(t.TempDir(), "machine"), Firmware: FirmwarePi3, DiskSize: 3 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds all of it
		if err := m.prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string]string{kernelName: slotKernel, initrdName: slotInitrd, treeName: pi3Tree} {
			if got, err := os.ReadFile(m.path(name)); err != nil || string(got) != content[from] {
				t.Errorf("%s = %q, %v, want %q", name, got, err, content[from])
			}
		}
		if want := "roothash=00 console=ttyAMA0 console=ttyS1,115200 console=tty0 module_blacklist=bcm2835_wdt"; m.kernel.cmdline != want {
			t.Errorf("cmdline = %q, want %q", m.kernel.cmdline, want)
		}
	}
	size := func() (info struct {
		Size int64 `json:"virtual-size"`
	}) {
		out, err := exec.Command(qemuImg, "info", "--output=json", m.path(diskName)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &info); err != nil {
			t.Fatal(err)
		}
		return info
	}
	if got := size().Size; got != 4<<30 {
		t.Errorf("the SD card has %d bytes, want 4 GiB", got)
	}
	if err := m.Grow(t.Context(), 8<<30); err != nil || size().Size != 8<<30 {
		t.Errorf("Grow = %v, and the SD card has %d bytes, want 8 GiB", err, size().Size)
	}
	if err := os.WriteFile(image, []byte("\x28\xb5\x2f\xfd other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.prepare(t.Context()); !errors.Is(err, ErrImageChanged) {
		t.Errorf("prepare with another image = %v, want ErrImageChanged", err)
	}
	if err := m.RemoveDisk(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(m.path("*")); len(left) > 0 {
		t.Errorf("RemoveDisk left %q", left)
	}
}

func TestFlashChipsOfArm64AreFull(t *testing.T) {
	dir := t.TempDir()
	small := filepath.Join(dir, "QEMU_EFI.fd")
	if err := os.WriteFile(small, []byte("code"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Machine{cfg: Config{Dir: dir}, platform: Platform{arm64, FirmwareUEFI}, firmware: firmware{code: small, vars: small}}
	if err := m.prepareFirmware(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{m.firmware.code, varsName} {
		st, err := os.Stat(m.path(name))
		if err != nil || st.Size() != pflashSize {
			t.Errorf("%s: %v, %v, want 64 MiB", name, st, err)
		}
	}
}

func TestVirtHasOneConsoleOfItsKind(t *testing.T) {
	for in, want := range map[string]string{
		"console=ttyAMA10,115200 console=tty0 quiet": "console=tty0 quiet console=ttyAMA0,115200",
		"console=ttyS1,115200 console=ttyAMA0":       "console=ttyS1,115200 console=ttyAMA0,115200",
	} {
		if got := forMachine(FirmwareNone, in); got != want {
			t.Errorf("forMachine(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSlotArgumentsOfBothChains(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string // empty: an error
	}{
		"u-boot":        {map[string]string{slotEnv: "ab=1\nkeelson_args=a b  \n"}, "a b"},
		"pi":            {map[string]string{slotCmdline: "a b\n"}, "a b"},
		"without a key": {map[string]string{slotEnv: "other=a\n"}, ""},
		"none":          {map[string]string{}, ""},
	} {
		f, err := os.Open(testImage(t, "mbr", false, tt.files))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, fat, err := openBoot(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := slotArguments(fat); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: slotArguments = %q, %v, want %q", name, got, err, tt.want)
		}
	}
}
