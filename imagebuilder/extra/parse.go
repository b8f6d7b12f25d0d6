package extra

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// ErrSyntax says that a --file argument is not SRC:DST.
var ErrSyntax = errors.New("want SRC:DST with an absolute DST, as in app.conf:/etc/app.conf")

// ParseFile splits a --file argument at its last ":/", so that SRC may have colons. to is absolute and clean; a "/"
// at its end says that the file keeps its name in that folder.
// Errors wrap ErrSyntax.
func ParseFile(arg string) (from, to string, err error) {
	i := strings.LastIndex(arg, ":/")
	if i < 0 {
		return "", "", fmt.Errorf("--file %s: %w", arg, ErrSyntax)
	}
	from, to = arg[:i], arg[i+1:]
	switch {
	case from == "":
		return "", "", fmt.Errorf("--file %s: there is nothing before the colon: %w", arg, ErrSyntax)
	case to == "/":
	case !fs.ValidPath(strings.TrimSuffix(to[1:], "/")):
		return "", "", fmt.Errorf("--file %s: %s has empty, \".\" or \"..\" elements: %w", arg, to, ErrSyntax)
	}
	if err := checkName(to); err != nil {
		return "", "", fmt.Errorf("--file %s: %w: %w", arg, err, ErrSyntax)
	}
	return from, to, nil
}
