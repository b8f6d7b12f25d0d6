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

	"golang.org/x/sys/unix"
)

const qemuProgram = "qemu-system-x86_64"

// ErrMissing means that the host lacks a program or a file; the text names the package.
var ErrMissing = errors.New("is not installed")

// missing says what to install on Debian.
func missing(what, pkg string) error {
	return fmt.Errorf("%s %w: install the Debian package %s (apt-get install %s)", what, ErrMissing, pkg, pkg)
}

// firmware is a UEFI firmware image and a template of its variables.
type firmware struct{ code, vars string }

// findFirmware looks where Debian, Fedora and Arch put OVMF without Secure Boot.
func findFirmware() (firmware, error) {
	for _, f := range []firmware{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	} {
		_, err1 := os.Stat(f.code)
		_, err2 := os.Stat(f.vars)
		if err1 == nil && err2 == nil {
			return f, nil
		}
	}
	return firmware{}, missing("UEFI firmware for virtual machines (OVMF)", "ovmf")
}

// CheckHost reports everything the host lacks to run a machine, nil when nothing.
func CheckHost() error {
	var errs []error
	for _, t := range []struct{ program, pkg string }{{qemuProgram, "qemu-system-x86"}, {"qemu-img", "qemu-utils"}} {
		if _, err := exec.LookPath(t.program); err != nil {
			errs = append(errs, missing(t.program, t.pkg))
		}
	}
	if _, err := findFirmware(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// kvmRecord is the file that remembers whether a boot under KVM worked on this host, with
// this kernel and this QEMU: "good" or "bad". It may fail to be kept: then the next
// machine tries again.
func kvmRecord(ctx context.Context) (path string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, qemuProgram, "--version").Output()
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	name := unix.ByteSliceToString(u.Release[:]) + " " + string(line)
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /()", r) {
			return '_'
		}
		return r
	}, name)
	return filepath.Join(cache, "keelson", "kvm", name), nil
}

// kvmUsable reports whether /dev/kvm can make a virtual machine at all.
func kvmUsable() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	const kvmCreateVM = 0xAE01 // linux/kvm.h: _IO(KVMIO, 0x01)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), kvmCreateVM, 0)
	if errno != 0 {
		return false
	}
	return unix.Close(int(fd)) == nil
}
