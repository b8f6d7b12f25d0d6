package vmimage

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// Format is a format of disk images.
type Format string

// The formats.
const (
	Raw   Format = "raw"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk"
	VHD   Format = "vhd"
)

// formats are all formats with the file name extensions they have.
var formats = []struct {
	format     Format
	extensions []string
}{
	{Raw, []string{".img", ".raw"}},
	{QCOW2, []string{".qcow2"}},
	{VMDK, []string{".vmdk"}},
	{VHD, []string{".vhd"}},
}

// ErrFormat says that a format is not one of ours, or does not fit the file's name.
var ErrFormat = errors.New("not a possible format")

// others are formats a user may ask for, and what to take instead.
var others = map[string]string{
	"iso": "an ISO is read-only, and a node writes to its disk: its state, and the other slot at an upgrade; " +
		"write the raw image to a USB stick or a disk, or give a virtual machine raw, qcow2, vmdk or vhd as its disk",
	"vhdx": "Hyper-V takes vhd as well (a machine of generation 2: Convert-VHD makes a vhdx of it)",
	"vdi":  "VirtualBox takes vmdk as well",
	"ova":  "give a new virtual machine the disk as vmdk",
}

// Choose returns the format of a build: the one named, else the one that the file's name ends in, else Raw.
// Errors wrap ErrFormat: an unknown name, or a name and a file that say different things.
func Choose(name, file string) (Format, error) {
	ext := strings.ToLower(filepath.Ext(file))
	if name == "" {
		if why, ok := others[strings.TrimPrefix(ext, ".")]; ok {
			return "", fmt.Errorf("--out %s: %w: %s", file, ErrFormat, why)
		}
		f, _ := ofExtension(ext)
		return f, nil
	}
	var names []string
	for _, f := range formats {
		if name == string(f.format) {
			if of, known := ofExtension(ext); known && of != f.format {
				return "", fmt.Errorf("--format %s: %w for %s; end its name in %s", name, ErrFormat, file, f.extensions[0])
			}
			return f.format, nil
		}
		names = append(names, string(f.format))
	}
	if why, ok := others[name]; ok {
		return "", fmt.Errorf("--format %s: %w: %s", name, ErrFormat, why)
	}
	return "", fmt.Errorf("--format %s: %w: want %s", name, ErrFormat, strings.Join(names, ", "))
}

// ofExtension returns the format of an extension; Raw and false if there is none.
func ofExtension(ext string) (_ Format, known bool) {
	for _, f := range formats {
		for _, e := range f.extensions {
			if e == ext {
				return f.format, true
			}
		}
	}
	return Raw, false
}

// Extensions returns the extensions of all formats.
func Extensions() []string {
	var out []string
	for _, f := range formats {
		out = append(out, f.extensions...)
	}
	return out
}

// Extension returns the extension of a new file's name: ".img", ".qcow2".
func (f Format) Extension() string {
	for _, x := range formats {
		if x.format == f {
			return x.extensions[0]
		}
	}
	return ".img"
}
