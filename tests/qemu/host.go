package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing means that the host lacks a program or a file; the text names the package.
var ErrMissing = errors.New("is not installed")

// missing says what to install; pkg is Debian's name for it.
func missing(what, pkg string) error {
	return fmt.Errorf("%s %w: %s", what, ErrMissing, howToInstall(pkg))
}

// firmware is what QEMU is told of the firmware: a UEFI image with a template of its
// variables, or a boot loader in place of it, or nothing.
type firmware struct{ code, vars, bios string }

// firmwareFiles are where distributions put the files, without Secure Boot: Debian, Fedora,
// Arch, Homebrew on Apple's and on Intel's processors.
var firmwareFiles = map[Platform]struct {
	what, pkg string
	files     []firmware
}{
	{amd64, FirmwareUEFI}: {"UEFI firmware for virtual machines (OVMF)", "ovmf", []firmware{
		{code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{code: "/usr/share/OVMF/OVMF_CODE.fd", vars: "/usr/share/OVMF/OVMF_VARS.fd"},
		{code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
		{code: "/opt/homebrew/share/qemu/edk2-x86_64-code.fd", vars: "/opt/homebrew/share/qemu/edk2-i386-vars.fd"},
		{code: "/usr/local/share/qemu/edk2-x86_64-code.fd", vars: "/usr/local/share/qemu/edk2-i386-vars.fd"},
	}},
	{arm64, FirmwareUEFI}: {"UEFI firmware for arm64 virtual machines (AAVMF)", "qemu-efi-aarch64", []firmware{
		{code: "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{code: "/usr/share/AAVMF/AAVMF_CODE.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
		{code: "/usr/share/edk2/aarch64/QEMU_EFI.fd", vars: "/usr/share/edk2/aarch64/QEMU_VARS.fd"},
		{code: "/opt/homebrew/share/qemu/edk2-aarch64-code.fd", vars: "/opt/homebrew/share/qemu/edk2-arm-vars.fd"},
		{code: "/usr/local/share/qemu/edk2-aarch64-code.fd", vars: "/usr/local/share/qemu/edk2-arm-vars.fd"},
	}},
	{arm64, FirmwareUBoot}: {"U-Boot for virtual machines", "u-boot-qemu", []firmware{
		{bios: "/usr/lib/u-boot/qemu_arm64/u-boot.bin"},
	}},
}

// findFirmware finds the files of a platform's firmware; those of the others come with QEMU.
func findFirmware(p Platform) (firmware, error) {
	want, ok := firmwareFiles[p]
	if !ok {
		return firmware{}, nil
	}
	for _, f := range append(want.files[:len(want.files):len(want.files)], beside(p)...) {
		there := true
		for _, path := range []string{f.code, f.vars, f.bios} {
			if path == "" {
				continue
			}
			if _, err := os.Stat(path); err != nil {
				there = false
			}
		}
		if there {
			return f, nil
		}
	}
	return firmware{}, missing(want.what, want.pkg)
}

// CheckHost reports everything the host lacks to run machines of these platforms, nil when
// nothing. Without an argument it is asked for amd64 with UEFI.
func CheckHost(platforms ...Platform) error {
	if len(platforms) == 0 {
		platforms = []Platform{{amd64, FirmwareUEFI}}
	}
	var errs []error
	need := func(program, pkg string) {
		if _, err := exec.LookPath(programPath(program)); err != nil {
			errs = append(errs, missing(program, pkg))
		}
	}
	need("qemu-img", "qemu-utils")
	for _, p := range platforms {
		need(p.program())
		if _, err := findFirmware(p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// kvmRecord is the file that remembers whether a boot under KVM worked on this host, with
// this kernel and this QEMU: "good" or "bad". It may fail to be kept: then the next
// machine tries again.
func kvmRecord(ctx context.Context, qemuProgram string) (path string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, programPath(qemuProgram), "--version").Output()
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	release, err := kernelRelease()
	if err != nil {
		return "", err
	}
	name := release + " " + string(line)
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /()", r) {
			return '_'
		}
		return r
	}, name)
	return filepath.Join(cache, "keelson", "kvm", name), nil
}
