package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// listed is what `go list -json` tells of one package.
type listed struct {
	ImportPath string
	Dir        string
	Name       string
	GoFiles    []string
	Deps       []string
}

func list(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Deps",
		"-tags", "no_btrfs no_zfs no_devmapper no_tracing", Module+"/...")
	cmd.Env = append(os.Environ(), "GOOS=linux")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// under says whether an import path lies in room, which is relative to the module unless
// its first element has a dot.
func under(importPath, room string) bool {
	if first, _, _ := strings.Cut(room, "/"); !strings.Contains(first, ".") && room != "net/http" {
		room = path.Join(Module, room)
	}
	return importPath == room || strings.HasPrefix(importPath, room+"/")
}

func TestNoArrowThatTheHouseForbids(t *testing.T) {
	packages := list(t)
	for _, ban := range Bans {
		matched := false
		for _, p := range packages {
			if !under(p.ImportPath, ban.From) {
				continue
			}
			matched = true
			for _, dep := range p.Deps {
				for _, on := range ban.On {
					if under(dep, on) && !under(dep, ban.From) {
						t.Errorf("%s depends on %s: %s", p.ImportPath, dep, ban.Reason)
					}
				}
			}
		}
		if !matched {
			t.Errorf("the ban on %s matches no package: remove it or mend its path", ban.From)
		}
	}
}

func TestEveryPackageHasOnePackageComment(t *testing.T) {
	for _, p := range list(t) {
		var with []string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != "" {
				with = append(with, name)
			}
		}
		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s has %d package comments %v, want exactly one", p.ImportPath, len(with), with)
		}
	}
}

// unwanted is what no tracked file may hold: a builder's absolute paths, or the host name of a
// package registry (the mirror is the host's own, found at run time).
var unwanted = regexp.MustCompile(`(?:^|[^A-Za-z0-9_.-])/(?:work|home|root)/[a-z]+/|(?:deb|security|ftp)\.debian\.org|proxy\.golang\.org|registry\.npmjs`)

func TestNoMachinePathAndNoRegistryHost(t *testing.T) {
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	top := strings.TrimSpace(string(root))
	out, err := exec.Command("git", "-C", top, "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.HasSuffix(name, "go.sum") || strings.HasPrefix(name, "tests/house/") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(top, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed in the work tree, not yet in the index
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := unwanted.FindString(line); m != "" {
				t.Errorf("%s:%d: holds %q", name, i+1, m)
			}
		}
	}
}
