package bootcontrol

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/keelson-os/keelson/upgrade/fat"
)

// folders is where U-Boot and the Raspberry Pi's firmware have the boot files: in the slot's folder, slot-a or slot-b.
type folders struct {
	need []string // what every slot has, besides a device tree where the other slot has one
}

func slotFolder(slot Slot) string { return "slot-" + string(slot) }

func (f folders) list(v *fat.Volume, slot Slot) ([]File, error) {
	var out []File
	var walk func(dir, prefix string) error
	walk = func(dir, prefix string) error {
		list, err := v.List(dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			if !e.Dir {
				out = append(out, File{prefix + e.Name, e.Size})
			} else if err := walk(dir+"/"+e.Name, prefix+e.Name+"/"); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(slotFolder(slot), ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return out, nil
}

func (f folders) path(_ *fat.Volume, slot Slot, name string) (string, error) {
	if !fs.ValidPath(name) || name == "." {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return slotFolder(slot) + "/" + name, nil
}

func (f folders) write(v *fat.Volume, slot Slot, name string, size int64, r io.Reader) error {
	to, err := f.path(v, slot, name)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := v.Mkdir(path.Dir(to), now); err != nil {
		return err
	}
	return v.Create(to, size, r, now)
}

func (f folders) remove(v *fat.Volume, slot Slot) error {
	if err := v.Remove(slotFolder(slot)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f folders) complete(v *fat.Volume, slot Slot) error {
	have, err := f.list(v, slot)
	if err != nil {
		return err
	}
	other, err := f.list(v, slot.Other())
	if err != nil {
		return err
	}
	has := func(list []File, ok func(name string) bool) bool {
		for _, x := range list {
			if x.Size > 0 && ok(strings.ToLower(x.Name)) {
				return true
			}
		}
		return false
	}
	for _, name := range f.need {
		if !has(have, func(n string) bool { return n == name }) {
			return fmt.Errorf("%w: %s has no %s", ErrNotComplete, slotFolder(slot), name)
		}
	}
	tree := func(n string) bool { return strings.HasSuffix(n, ".dtb") }
	if has(other, tree) && !has(have, tree) {
		return fmt.Errorf("%w: %s has no device tree, %s has", ErrNotComplete, slotFolder(slot), slotFolder(slot.Other()))
	}
	return nil
}
