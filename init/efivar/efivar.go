// Package efivar reads what a UEFI boot loader left in EFI variables.
// Source: the Boot Loader Interface, https://systemd.io/BOOT_LOADER_INTERFACE.
package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// Dir is where efivarfs is mounted.
const Dir = "/sys/firmware/efi/efivars"

const loaderGUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// loader reads a boot loader variable: four bytes of attributes, then UTF-16 with a zero
// at its end.
func loader(dir, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, name+"-"+loaderGUID))
	if err != nil {
		return "", err
	}
	return decode(b)
}

func decode(b []byte) (string, error) {
	if len(b) < 4 || len(b)%2 != 0 {
		return "", fmt.Errorf("EFI variable of %d bytes", len(b))
	}
	var u []uint16
	for b = b[4:]; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u)), nil
}

// DevicePartUUID returns the lower-case partition UUID of the ESP we were booted from, or
// fs.ErrNotExist when the boot loader did not say.
func DevicePartUUID(dir string) (string, error) {
	s, err := loader(dir, "LoaderDevicePartUUID")
	return strings.ToLower(s), err
}

// Times returns how long the firmware took until the boot loader started, and the boot
// loader until it started the kernel.
func Times(dir string) (firmware, bootLoader time.Duration, err error) {
	started, err := usec(dir, "LoaderTimeInitUSec")
	if err != nil {
		return 0, 0, err
	}
	exec, err := usec(dir, "LoaderTimeExecUSec")
	if err != nil {
		return 0, 0, err
	}
	if exec < started {
		return 0, 0, errors.New("boot loader times run backwards")
	}
	return started, exec - started, nil
}

func usec(dir, name string) (time.Duration, error) {
	s, err := loader(dir, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 40)
	if err != nil {
		return 0, fmt.Errorf("EFI variable %s: %w", name, err)
	}
	return time.Duration(n) * time.Microsecond, nil
}
