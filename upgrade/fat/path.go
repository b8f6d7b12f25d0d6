package fat

import (
	"fmt"
	"io/fs"
	"strings"
)

// Entry is a file or folder.
type Entry struct {
	Name string
	Dir  bool
	Size int64 // bytes; 0 of folders
	// First is the number of its first cluster, 0 of an empty file. Two files have the same one only while a change of name is
	// not finished.
	First uint32
}

func (e entry) public() Entry { return Entry{e.name, e.isDir(), int64(e.size), e.first} }

// elements returns the names of a path; none for the root, which is "" or "/".
func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// parent returns the folder of the last element of a path, and that element.
func (v *Volume) parent(path string) (*directory, string, error) {
	list := elements(path)
	if len(list) == 0 {
		return nil, "", fmt.Errorf("path %q: want a file or folder inside the FAT partition", path)
	}
	d, err := v.walk(path, list[:len(list)-1])
	return d, list[len(list)-1], err
}

// walk opens the folder at the end of a list of names.
func (v *Volume) walk(path string, list []string) (*directory, error) {
	d, err := v.folder("", 0)
	for i := 0; i < len(list) && err == nil; i++ {
		var e entry
		if e, err = d.find(list[i]); err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		if !e.isDir() {
			return nil, fmt.Errorf("%s on the FAT partition is a file, expected a folder", strings.Join(list[:i+1], "/"))
		}
		d, err = v.folder(strings.Join(list[:i+1], "/"), e.first)
	}
	return d, err
}

// lookup returns the entry of a path and its folder. fs.ErrNotExist.
func (v *Volume) lookup(path string) (*directory, entry, error) {
	d, name, err := v.parent(path)
	if err != nil {
		return nil, entry{}, err
	}
	e, err := d.find(name)
	if err != nil {
		return nil, entry{}, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return d, e, nil
}

// file is lookup of what must be a file.
func (v *Volume) file(path string) (*directory, entry, error) {
	d, e, err := v.lookup(path)
	if err == nil && e.isDir() {
		err = fmt.Errorf("%s on the FAT partition is a folder, expected a file", path)
	}
	return d, e, err
}

// Stat returns the entry of a path. fs.ErrNotExist when there is none.
func (v *Volume) Stat(path string) (Entry, error) {
	_, e, err := v.lookup(path)
	return e.public(), err
}

// List returns what is in a folder, in the folder's order. fs.ErrNotExist when there is no such folder.
func (v *Volume) List(path string) ([]Entry, error) {
	d, err := v.walk(path, elements(path))
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, e := range d.entries() {
		out = append(out, e.public())
	}
	return out, nil
}
