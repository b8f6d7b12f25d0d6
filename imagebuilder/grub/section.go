package grub

import (
	"fmt"
	"strings"

	"github.com/keelson-os/keelson/upgrade/bootcontrol/grubenv"
)

// SectionName is the name of the section in a UKI.
const SectionName = ".grub"

// The section's content lies at byte SectionAt of the UKI and has SectionSize bytes; what of the section lies before it
// is zeros. The stub must end before it: systemd's has 90 KiB.
const (
	SectionAt   = 256 << 10
	SectionSize = (headerSectors + scriptSectors + topSectors) * sectorSize
)

// Parts of the content, in sectors.
const (
	headerSectors = 1
	scriptSectors = 8
	topSectors    = TopSize / sectorSize
)

// TopSize is the size of a block of a root's hash tree, bytes.
const TopSize = 4096

// maxCmdline is the kernel's COMMAND_LINE_SIZE on x86 less the final NUL.
const maxCmdline = 2047

// Extent is bytes [Offset, Offset+Size) of a file. Offset is a multiple of 512; what fills up the last sector is zeros.
type Extent struct{ Offset, Size int64 }

// blockList returns the extent as GRUB's block list.
func (e Extent) blockList() (string, error) {
	if e.Offset < 0 || e.Offset%sectorSize != 0 || e.Size <= 0 {
		return "", fmt.Errorf("grub: bytes [%d, %d): want some from a multiple of %d on", e.Offset, e.Offset+e.Size, sectorSize)
	}
	return fmt.Sprintf("%d+%d", e.Offset/sectorSize, (e.Size+sectorSize-1)/sectorSize), nil
}

// Image is a UKI as GRUB sees it.
type Image struct {
	Linux   Extent // sections .linux and .initrd, in the UKI
	Initrd  Extent
	Cmdline string // kernel command line
	// Top is the top block of the root's hash tree, TopSize bytes, TopAt where it lies in the
	// root partition, bytes.
	Top   []byte
	TopAt int64
}

// Section returns the content of a UKI's section. Equal images give equal bytes.
// Errors: extents that are not whole sectors, a command line that GRUB would change or that is too long.
func Section(i Image) ([]byte, error) {
	if len(i.Top) != TopSize {
		return nil, fmt.Errorf("grub: top block of %d bytes, want %d", len(i.Top), TopSize)
	}
	const scriptAt = SectionAt/sectorSize + headerSectors
	header, err := grubenv.Block(grubenv.Variable{Name: "grub_script", Value: fmt.Sprintf("%d+%d", scriptAt, scriptSectors)})
	if err != nil {
		return nil, err
	}
	text, err := i.script(scriptAt + scriptSectors)
	if err != nil {
		return nil, err
	}
	if len(text) > scriptSectors*sectorSize {
		return nil, fmt.Errorf("grub: script needs %d bytes, %d are there: make the kernel command line shorter", len(text), scriptSectors*sectorSize)
	}
	out := append(header, text...)
	out = append(out, strings.Repeat("\n", scriptSectors*sectorSize-len(text))...)
	return append(out, i.Top...), nil
}

// script returns the script in the section; topSector is where the section has the top block.
func (i Image) script(topSector int) (string, error) {
	linux, err := i.Linux.blockList()
	if err != nil {
		return "", fmt.Errorf("%w (kernel)", err)
	}
	initrd, err := i.Initrd.blockList()
	if err != nil {
		return "", fmt.Errorf("%w (initramfs)", err)
	}
	top, err := Extent{i.TopAt, TopSize}.blockList()
	if err != nil {
		return "", fmt.Errorf("%w (top block of the hash tree)", err)
	}
	args, size, err := arguments(i.Cmdline)
	if err != nil {
		return "", err
	}
	// GRUB leaves out, silently, what does not fit.
	size += len("BOOT_IMAGE=(uki)") + len(linux) + len(" keelson.slot=a keelson.esp=01234567-89ab-cdef-0123-456789abcdef")
	if size > maxCmdline {
		return "", fmt.Errorf("kernel command line has %d bytes with what GRUB adds for a BIOS, at most %d are possible: give less with --karg", size, maxCmdline)
	}
	return fmt.Sprintf(`# Keelson: loads the kernel of this boot image; package imagebuilder/grub says how.
if cmp "(${keelson_root})%s" "(uki)%d+%d"; then
  if linux "(uki)%s"%s "keelson.slot=${keelson_slot}" "keelson.esp=${keelson_esp}"; then
    if initrd "(uki)%s"; then
      set keelson_ok=1
    fi
  fi
fi
`, top, topSector, topSectors, linux, args, initrd), nil
}

// arguments returns a kernel command line as words of GRUB's script, each with a space before it, and the length that
// GRUB makes of them. GRUB puts a backslash before quotes and backslashes, which the kernel would take for
// part of the value; a word with a space it puts in quotes as a whole, which the kernel takes like quotes around the value.
// Source: GRUB 2.12, grub-core/lib/cmdline.c; Linux lib/cmdline.c, next_arg.
func arguments(cmdline string) (words string, size int, err error) {
	var b strings.Builder
	for _, w := range split(cmdline) {
		plain := w
		if key, value, ok := strings.Cut(w, "="); ok && len(value) >= 2 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
			plain = key + "=" + value[1:len(value)-1]
		} else if len(w) >= 2 && strings.HasPrefix(w, `"`) && strings.HasSuffix(w, `"`) {
			plain = w[1 : len(w)-1]
		}
		if strings.ContainsAny(plain, "\"'\\\n\x00") {
			return "", 0, fmt.Errorf("kernel argument %q: has a quote, backslash or line break where GRUB, for a BIOS, would change it; leave it out of --karg", w)
		}
		b.WriteString(" '" + plain + "'")
		size += 1 + len(plain)
		if strings.Contains(plain, " ") {
			size += 2
		}
	}
	return b.String(), size, nil
}

// split splits a command line at spaces outside of double quotes.
func split(cmdline string) []string {
	quoted := false
	return strings.FieldsFunc(cmdline, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && r == ' '
	})
}
