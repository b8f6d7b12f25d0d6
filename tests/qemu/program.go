package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// programPath finds a program of QEMU's. Its installer for Windows does not put it where
// programs are looked for, so its folder is looked at too. A program that is not found
// stays as it is named: starting it says so.
func programPath(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if runtime.GOOS == "windows" {
		for _, variable := range []string{"ProgramFiles", "ProgramW6432"} {
			path := filepath.Join(os.Getenv(variable), "qemu", name+".exe")
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return name
}

// beside returns the UEFI firmware that comes with QEMU itself, where its program is
// installed: in share/ beside it on Windows, in ../share/qemu elsewhere.
func beside(p Platform) []firmware {
	name, _ := p.program()
	path := programPath(name)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if p.Firmware != FirmwareUEFI || !filepath.IsAbs(path) {
		return nil
	}
	code, vars := "edk2-x86_64-code.fd", "edk2-i386-vars.fd"
	if p.Arch == arm64 {
		code, vars = "edk2-aarch64-code.fd", "edk2-arm-vars.fd"
	}
	var list []firmware
	for _, dir := range []string{filepath.Join(filepath.Dir(path), "share"), filepath.Join(filepath.Dir(path), "..", "share", "qemu")} {
		list = append(list, firmware{code: filepath.Join(dir, code), vars: filepath.Join(dir, vars)})
	}
	return list
}
