package pi

import (
	"io/fs"
	"testing"
)

func FuzzConfig(f *testing.F) {
	f.Add("arm_64bit=1\n[pi4]\ninclude a\n[all]\ninitramfs x followkernel\n", "kernel=linux\n", 0)
	f.Add("include a\n", "include a\n", 7)
	f.Add("[board-type=0x11]\n[", "#", 4)
	f.Fuzz(func(t *testing.T, config, included string, n int) {
		m := Models[uint(n)%uint(len(Models))]
		c := parseConfig(func(name string) ([]byte, error) {
			switch name {
			case "config.txt":
				return []byte(config), nil
			case "a":
				return []byte(included), nil
			}
			return nil, fs.ErrNotExist
		}, m)
		for k := range c.set {
			if len(k) > maxLine {
				t.Errorf("setting %q is longer than a line", k)
			}
		}
		c.flag("arm_64bit", 0)
	})
}
