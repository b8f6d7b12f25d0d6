package pkgs

import (
	"errors"
	"fmt"
	"strings"
)

// Why apt could not do it. Callers may tell a user who has a complete cache from one who has none.
var (
	// ErrUnavailable: no package server answered, or it did not have the file.
	ErrUnavailable = errors.New("the package server cannot be reached")
	// ErrSignature: a package index has no signature, or none that the keyring knows.
	ErrSignature = errors.New("a package index is not signed by the Debian archive")
)

// GoneError is returned when the mirror no longer has versions that the lock demands.
type GoneError struct{ Gone []Gone }

// Gone is one such package.
type Gone struct {
	Name, Arch string
	Locked     string
	Available  string // the newest version the mirror has; empty: none
}

func (e *GoneError) Error() string {
	return e.list() + "\nGive a mirror that still has them with --mirror, take the new versions for builds on this computer with" +
		" --allow-moved-packages, or for good with --update-lock"
}

// list says what was locked and what there is.
func (e *GoneError) list() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the mirror no longer has %d of the locked package versions:", len(e.Gone))
	for _, g := range e.Gone {
		now := g.Available
		if now == "" {
			now = "not in the mirror at all"
		}
		fmt.Fprintf(&b, "\n  %s (%s): %s → %s", g.Name, g.Arch, g.Locked, now)
	}
	return b.String()
}

// ToolError is returned when the host lacks a program.
type ToolError struct {
	Tool    string
	Package string // the Debian package that has it
	Err     error
}

func (e *ToolError) Error() string {
	return fmt.Sprintf("%s is needed and not installed: install the package %s (apt install %s): %v", e.Tool, e.Package, e.Package, e.Err)
}

func (e *ToolError) Unwrap() error { return e.Err }
