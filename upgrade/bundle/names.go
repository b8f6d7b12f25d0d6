package bundle

import (
	"fmt"
	"io/fs"
	"strings"
)

const (
	rootName   = "root"
	bootPrefix = "boot/"
	// nameMax bounds an artefact's name, in bytes: "boot/", and a path that a FAT partition can have below the slot's folder.
	nameMax = 200
)

// checkNames returns nil if the names of all artefacts are clean, and can be files on one FAT partition, where upper and lower
// case are the same.
func checkNames(list []Artefact) error {
	files, folders := map[string]bool{}, map[string]bool{}
	for _, a := range list {
		if err := checkName(a.Name); err != nil {
			return err
		}
		key := strings.ToLower(a.Name)
		if files[key] {
			return fmt.Errorf("artefact %q is there twice", a.Name)
		}
		files[key] = true
		for i := range key {
			if key[i] == '/' {
				folders[key[:i]] = true
			}
		}
	}
	for _, a := range list {
		if folders[strings.ToLower(a.Name)] {
			return fmt.Errorf("artefact %q is a file, and the folder of another one", a.Name)
		}
	}
	return nil
}

// checkName returns nil for "root" and for "boot/" with a clean path.
func checkName(name string) error {
	path, boot := strings.CutPrefix(name, bootPrefix)
	if !boot {
		if name != rootName {
			return fmt.Errorf("artefact %.80q: want %q, or %q and a path", name, rootName, bootPrefix)
		}
		return nil
	}
	if len(name) > nameMax || !fs.ValidPath(path) {
		return fmt.Errorf("artefact %.80q: want a clean path of at most %d characters", name, nameMax)
	}
	for part := range strings.SplitSeq(path, "/") {
		// FAT drops dots at the end; a dot in front hides a file, or is "." and "..".
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".") || strings.ContainsFunc(part, notInName) {
			return fmt.Errorf("artefact %.80q: want names of letters, digits and \"-_+,.\", without a dot in front or at the end", name)
		}
	}
	return nil
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_+,.", r)
}
