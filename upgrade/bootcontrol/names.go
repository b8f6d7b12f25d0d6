package bootcontrol

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/upgrade/fat"
)

// ukiFolder is where systemd-boot looks for UKIs.
const ukiFolder = "EFI/Linux"

// bundleUKI is the name of a UKI as a boot file.
const bundleUKI = "uki.efi"

// maxGeneration bounds the number in a UKI's name: nine digits.
const maxGeneration = 999_999_999

// UKI is what the name of a UKI on the ESP says:
//
//	keelson_GENERATION_SLOT.efi           good
//	keelson_GENERATION_SLOT+LEFT.efi      on trial; systemd-boot counts: +3, +2-1, +1-2, +0-3
//	keelson_GENERATION_SLOT+LEFT-DONE.efi
//
// systemd-boot starts the first one of this order: those without tries left last, then, as their .osrel sections are equal and
// have no version, the higher name by the rules for versions, which compare digits as numbers. No two UKIs have the same generation.
// Source: UAPI.1 Boot Loader Specification, "Boot counting" and "Sorting"; UAPI.10 Version Format Specification; systemd 257,
// src/boot/boot.c, boot_entry_compare and boot_entry_parse_tries: the name that is compared has the counter in it, behind the generation.
type UKI struct {
	Generation int
	Slot       Slot
	Counted    bool
	Left, Done int // tries, when Counted
}

var ukiPattern = regexp.MustCompile(`^keelson_([1-9][0-9]{0,8})_([ab])(?:\+([0-9]{1,4})(?:-([0-9]{1,4}))?)?\.efi$`)

// ParseUKI reads a file name. FAT knows no case.
func ParseUKI(name string) (UKI, bool) {
	m := ukiPattern.FindStringSubmatch(strings.ToLower(name))
	if m == nil {
		return UKI{}, false
	}
	var u UKI
	u.Generation, _ = strconv.Atoi(m[1]) // digits, by the pattern
	u.Slot = Slot(m[2])
	if u.Counted = m[3] != ""; u.Counted {
		u.Left, _ = strconv.Atoi(m[3])
		u.Done, _ = strconv.Atoi(m[4]) // none: 0
	}
	return u, true
}

// String returns the file name.
func (u UKI) String() string {
	s := fmt.Sprintf("keelson_%d_%s", u.Generation, u.Slot)
	if u.Counted {
		s += fmt.Sprintf("+%d", u.Left)
		if u.Done > 0 {
			s += fmt.Sprintf("-%d", u.Done)
		}
	}
	return s + ".efi"
}

// bad reports whether no tries are left.
func (u UKI) bad() bool { return u.Counted && u.Left == 0 }

// pending is the name of a slot's UKI that is written and was never armed. Neither boot loader takes it for a UKI: systemd-boot
// wants .efi, GRUB's script keelson_*.efi.
func pending(slot Slot) string { return "keelson_" + string(slot) + ".new" }

// named is a UKI on the ESP.
type named struct {
	UKI
	entry fat.Entry
}

// readUKIs returns the UKIs in systemd-boot's order, and those that are pending.
func readUKIs(v *fat.Volume) ([]named, map[Slot]fat.Entry, error) {
	list, err := v.List(ukiFolder)
	if err != nil {
		return nil, nil, fmt.Errorf("boot control: %w", err)
	}
	var out []named
	waiting := map[Slot]fat.Entry{}
	for _, e := range list {
		if e.Dir {
			continue
		}
		if u, ok := ParseUKI(e.Name); ok {
			out = append(out, named{u, e})
		}
		for _, s := range []Slot{A, B} {
			if strings.EqualFold(e.Name, pending(s)) {
				waiting[s] = e
			}
		}
	}
	slices.SortStableFunc(out, func(a, b named) int {
		return cmp.Or(boolCompare(a.bad(), b.bad()), cmp.Compare(b.Generation, a.Generation))
	})
	return out, waiting, nil
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// newest is a slot's UKI with the highest generation, nil when it has none.
func newest(list []named, slot Slot) *named {
	var out *named
	for i, u := range list {
		if u.Slot == slot && (out == nil || u.Generation > out.Generation) {
			out = &list[i]
		}
	}
	return out
}

// ukis is where UEFI has the boot files: a slot's only one is its UKI.
type ukis struct{}

// find returns the name on the ESP of a slot's UKI: what is pending, else the one with the highest generation.
func (ukis) find(v *fat.Volume, slot Slot) (fat.Entry, error) {
	list, waiting, err := readUKIs(v)
	if err != nil {
		return fat.Entry{}, err
	}
	if e, ok := waiting[slot]; ok {
		return e, nil
	}
	best := newest(list, slot)
	if best == nil {
		return fat.Entry{}, &fs.PathError{Op: "open", Path: bundleUKI, Err: fs.ErrNotExist}
	}
	return best.entry, nil
}

func (k ukis) list(v *fat.Volume, slot Slot) ([]File, error) {
	e, err := k.find(v, slot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return []File{{bundleUKI, e.Size}}, err
}

func (k ukis) path(v *fat.Volume, slot Slot, name string) (string, error) {
	if name != bundleUKI {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	e, err := k.find(v, slot)
	return ukiFolder + "/" + e.Name, err
}

func (k ukis) write(v *fat.Volume, slot Slot, name string, size int64, r io.Reader) error {
	if name != bundleUKI {
		return fmt.Errorf("a board with UEFI has no such boot file: want %s", bundleUKI)
	}
	if err := v.Create(ukiFolder+"/"+pending(slot), size, r, time.Now()); err != nil {
		return err
	}
	return k.drop(v, slot, pending(slot))
}

func (k ukis) remove(v *fat.Volume, slot Slot) error { return k.drop(v, slot, "") }

func (k ukis) complete(v *fat.Volume, slot Slot) error {
	path, err := k.path(v, slot, bundleUKI)
	if err == nil {
		_, err = v.OpenFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s has no UKI of it", ErrNotComplete, ukiFolder)
	}
	return err
}

// drop removes all names of a slot but one.
func (ukis) drop(v *fat.Volume, slot Slot, keep string) error {
	list, waiting, err := readUKIs(v)
	if err != nil {
		return err
	}
	if e, ok := waiting[slot]; ok {
		list = append(list, named{UKI{Slot: slot}, e})
	}
	for _, u := range list {
		if u.Slot != slot || strings.EqualFold(u.entry.Name, keep) {
			continue
		}
		if err := v.Remove(ukiFolder + "/" + u.entry.Name); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what a cut change of a name left: of a slot's names only the newest counts, and a pending one only while it is
// another file.
func (k ukis) tidy(v *fat.Volume) error {
	for _, slot := range []Slot{A, B} {
		list, waiting, err := readUKIs(v)
		if err != nil {
			return err
		}
		last := newest(list, slot)
		if last == nil {
			continue
		}
		for _, u := range list {
			if u.Slot == slot && u.Generation != last.Generation {
				if err := v.Remove(ukiFolder + "/" + u.entry.Name); err != nil {
					return err
				}
			}
		}
		if e, ok := waiting[slot]; ok && e.First == last.entry.First {
			if err := v.Remove(ukiFolder + "/" + e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// rename gives a slot's UKI a name with the next generation, and then takes its other names away.
func (k ukis) rename(v *fat.Volume, slot Slot, counted bool) error {
	e, err := k.find(v, slot)
	if err != nil {
		return err
	}
	list, _, err := readUKIs(v)
	if err != nil {
		return err
	}
	u := UKI{Slot: slot, Counted: counted, Left: Tries}
	for _, x := range list {
		u.Generation = max(u.Generation, x.Generation)
	}
	if u.Generation++; u.Generation > maxGeneration {
		return fmt.Errorf("boot control: generation %d of the UKIs on the ESP: want at most %d; write the image to the disk again", u.Generation, maxGeneration)
	}
	if err := v.Link(ukiFolder+"/"+e.Name, ukiFolder+"/"+u.String()); err != nil {
		return err
	}
	return k.drop(v, slot, u.String())
}

// uefiLoader is systemd-boot, which decides by the names of the UKIs.
type uefiLoader struct{ n *Node }

func (l uefiLoader) state() (State, error) {
	list, err := l.names()
	if err != nil {
		return State{}, err
	}
	return stateOf(list), nil
}

// names are the UKIs, at least one, in systemd-boot's order.
func (l uefiLoader) names() ([]named, error) {
	v, err := l.n.volume()
	if err != nil {
		return nil, err
	}
	list, _, err := readUKIs(v)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("boot control: %s has no UKI: want keelson_GENERATION_SLOT.efi; write the image to the disk again", ukiFolder)
	}
	return list, err
}

func stateOf(list []named) State {
	standing := slices.IndexFunc(list, func(u named) bool { return !u.Counted })
	if standing < 0 {
		return State{Default: list[0].Slot} // all are on trial: nothing to go back to
	}
	s := State{Default: list[standing].Slot}
	for _, u := range list {
		if u.Counted && u.Generation > list[standing].Generation && u.Slot != s.Default {
			s.Trial, s.TriesLeft, s.TriesDone = u.Slot, u.Left, u.Done
			break
		}
	}
	return s
}

func (l uefiLoader) arm(slot Slot) error { return l.rename(slot, true) }

func (l uefiLoader) commit(slot Slot) error { return l.rename(slot, false) }

func (l uefiLoader) rename(slot Slot, counted bool) error {
	v, err := l.n.mend()
	if err != nil {
		return err
	}
	return ukis{}.rename(v, slot, counted)
}

func (l uefiLoader) settled(slot Slot) (bool, error) {
	list, err := l.names()
	if err != nil {
		return false, err
	}
	s := stateOf(list)
	return s.Default == slot && s.Trial == "" && slices.ContainsFunc(list, func(u named) bool { return u.Slot == slot && !u.Counted }), nil
}
