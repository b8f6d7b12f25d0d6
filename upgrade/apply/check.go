package apply

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/upgrade/bootcontrol"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// Errors of Check, besides ErrSkew and those of package bundle for signatures.
var (
	ErrNoKeys = errors.New("this image trusts no key: it was built without one, and takes no bundle; " +
		"build an image with the release's public key (keelson build --trust) and write it to the disk")
	ErrBoard  = errors.New("the bundle is for another board")
	ErrSerial = errors.New("the bundle is too old")
	// ErrTooLarge says that the bundle does not fit this disk's partitions.
	ErrTooLarge = errors.New("the bundle is too large")
	// ErrFiles says that the bundle has not the boot files that this machine's boot loader needs.
	ErrFiles = errors.New("the bundle has other boot files than this machine needs")
)

// Names of artefacts.
const (
	rootName   = "root"
	bootPrefix = "boot/"
)

// essential are the boot files without which a chain's slot cannot be started. The last one is written last: without it the slot is
// none for its boot loader.
func essential(c bootcontrol.Chain) []string {
	switch c {
	case bootcontrol.UEFI, bootcontrol.UEFIGRUB:
		return []string{"uki.efi"}
	case bootcontrol.Pi:
		return []string{"linux", "initrd.img", "cmdline.txt"}
	default:
		return []string{"linux", "initrd.img", "boot.env"}
	}
}

// Check says whether the bundle may be written to this machine, by its header alone: signature, board, serial, the rules for Kubernetes
// versions, boot files and sizes. It reads the disk and writes nothing.
func Check(h *bundle.Header, s System) error {
	node, err := s.node()
	if err != nil {
		return err
	}
	return check(h, s, node)
}

func check(h *bundle.Header, s System, node *bootcontrol.Node) error {
	if len(s.Keys) == 0 {
		return ErrNoKeys
	}
	if _, err := h.Verify(s.Keys); err != nil {
		return err
	}
	m := h.Manifest
	if m.Board != s.Board {
		return fmt.Errorf("%w: it is for %q, this is %q", ErrBoard, m.Board, s.Board)
	}
	if m.Serial < s.MinimumSerial {
		return fmt.Errorf("%w: it is version %s with serial %d, the systems that ran here demand %d or more: a bundle with known faults cannot be put in the place of its repair",
			ErrSerial, m.Version, m.Serial, s.MinimumSerial)
	}
	if err := checkSkew(s.Kubernetes, m.Kubernetes); err != nil {
		return err
	}
	return checkArtefacts(m.Artefacts, node, s.Booted.Other())
}

func checkArtefacts(list []bundle.Artefact, node *bootcontrol.Node, slot bootcontrol.Slot) error {
	roots := 0
	names := map[string]bool{}
	for _, a := range list {
		name, boot := strings.CutPrefix(a.Name, bootPrefix)
		// FAT does not tell upper and lower case apart.
		key := strings.ToLower(a.Name)
		switch {
		case a.Name == rootName:
			roots++
			if _, room := node.Root(slot); padded(a.Size) > room {
				return fmt.Errorf("%w: its root has %d bytes, the partition of slot %s has %d: write an image of this version to the disk instead", ErrTooLarge, a.Size, slot, room)
			}
		case !boot || !fs.ValidPath(name) || name == "." || names[key] || a.Size <= 0:
			return fmt.Errorf("%w: artefact %q of %d bytes", ErrFiles, a.Name, a.Size)
		}
		names[key] = true
	}
	if roots != 1 {
		return fmt.Errorf("%w: %d roots, want one", ErrFiles, roots)
	}
	need := essential(node.Chain())
	for _, name := range need {
		if !names[bootPrefix+name] {
			return fmt.Errorf("%w: %s is missing, boot chain %s needs it", ErrFiles, name, node.Chain())
		}
	}
	if len(need) == 1 && len(names) != 2 {
		return fmt.Errorf("%w: boot chain %s has only %s", ErrFiles, node.Chain(), need[0])
	}
	return checkRoom(list, node, slot)
}

// perFile is what a boot file may take of the FAT partition besides its bytes: the rest of its last cluster, and a folder's.
const perFile = 64 << 10

// checkRoom says whether the boot files fit when those of the slot are gone.
func checkRoom(list []bundle.Artefact, node *bootcontrol.Node, slot bootcontrol.Slot) error {
	room, err := node.Room()
	if err != nil {
		return err
	}
	there, err := node.BootFiles(slot)
	if err != nil {
		return err
	}
	for _, f := range there {
		room += f.Size
	}
	var need int64
	for _, a := range list {
		if a.Name != rootName {
			need += a.Size + perFile
		}
	}
	if need > room {
		return fmt.Errorf("%w: its boot files need %d bytes, the FAT partition has room for %d: write an image of this version to the disk instead", ErrTooLarge, need, room)
	}
	return nil
}

// differ returns how the boot files that are there differ from those of a bundle, by names and sizes, or "".
func differ(list []bundle.Artefact, there []bootcontrol.File) string {
	for _, a := range list {
		name, boot := strings.CutPrefix(a.Name, bootPrefix)
		if boot && !slices.Contains(there, bootcontrol.File{Name: name, Size: a.Size}) {
			return fmt.Sprintf("%s with %d bytes is not there", name, a.Size)
		}
	}
	for _, f := range there {
		if !slices.ContainsFunc(list, func(a bundle.Artefact) bool { return a.Name == bootPrefix+f.Name }) {
			return fmt.Sprintf("%s is there, and is not the bundle's", f.Name)
		}
	}
	return ""
}

// checkSum says whether s is empty or a SHA-256.
func checkSum(s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 0 && len(b) != 32 {
		return fmt.Errorf("SHA-256 %q: want 64 hexadecimal digits", s)
	}
	return nil
}
