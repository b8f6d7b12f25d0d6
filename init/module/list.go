package module

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ListDir is where files list modules that are loaded at boot though no device asks for them.
const ListDir = "/etc/modules-load.d"

// Listed returns the modules that the files *.conf of dir name, one a line, in the order of the files' names. Lines that
// begin with "#" or ";" are comments. Without the folder there are none.
// Source: modules-load.d(5).
func Listed(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		errs = append(errs, err)
		for line := range lines(text) {
			if line[0] != ';' {
				names = append(names, line)
			}
		}
	}
	return names, errors.Join(errs...)
}

// LoadNamed loads modules that were asked for by name, in their order. Unlike LoadAll it tells of every one that
// could not be loaded, one that is not there or finds no device included.
func (l *Loader) LoadNamed(names []string) error {
	var errs []error
	for _, name := range names {
		if strings.ContainsAny(name, " \t") {
			errs = append(errs, fmt.Errorf("module %q: want a name without spaces; options are given as kernel arguments, MODULE.OPTION=VALUE", name))
			continue
		}
		errs = append(errs, l.Load(name))
	}
	return errors.Join(errs...)
}
