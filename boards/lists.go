package boards

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// sharedList is a file lists/NAME.yaml: kernel modules and firmware that several boards take.
type sharedList struct {
	Modules  Modules  `yaml:"modules"`
	Firmware []string `yaml:"firmware"`
}

// addLists appends the board's lists to its own selections. A list may not exclude what another
// one includes by accident, so excludes are meant for what the list itself includes.
func (b *Board) addLists(fsys fs.FS) error {
	for _, name := range b.Lists {
		file := "lists/" + name + ".yaml"
		text, err := fs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("lists: there is no boards/%s", file)
		}
		if err != nil {
			return err
		}
		var l sharedList
		if err := decode("boards/"+file, text, &l); err != nil {
			return err
		}
		if err := errors.Join(l.Modules.check(), checkPatterns("firmware", l.Firmware)); err != nil {
			return fmt.Errorf("boards/%s: %w", file, err)
		}
		b.Modules.Root.add(l.Modules.Root)
		b.Modules.Initramfs.add(l.Modules.Initramfs)
		b.Modules.Load = append(b.Modules.Load, l.Modules.Load...)
		for _, f := range l.Firmware {
			if !slices.Contains(b.Firmware, f) {
				b.Firmware = append(b.Firmware, f)
			}
		}
	}
	return nil
}

func (s *Selection) add(more Selection) {
	s.Include = append(s.Include, more.Include...)
	s.Exclude = append(s.Exclude, more.Exclude...)
}
