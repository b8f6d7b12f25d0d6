package imagebuilder

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/extra"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// TestSystemKeyCoversWhatIsAdded: the cache must never answer with a root that has other files than those asked for.
func TestSystemKeyCoversWhatIsAdded(t *testing.T) {
	board, err := boards.Load("pc")
	if err != nil {
		t.Fatal(err)
	}
	programs, dir := t.TempDir(), t.TempDir()
	write := func(name, text string, perm os.FileMode) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, perm); err != nil {
			t.Fatal(err)
		}
	}
	b := &builder{board: board, progress: silent{}, memo: openMemo(filepath.Join(t.TempDir(), "memo"))}
	keys := map[string]string{}
	key := func(o Options) string {
		t.Helper()
		o.Board, o.Version, o.Programs = "pc", "1", programs
		b.opts, b.added = o, added{}
		if err := b.readAdded(); err != nil {
			t.Fatal(err)
		}
		k, err := b.systemKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	distinct := func(what string, o Options) {
		t.Helper()
		k := key(o)
		if other, ok := keys[k]; ok {
			t.Errorf("%s and %s have one key", what, other)
		}
		keys[k] = what
		if again := key(o); again != k {
			t.Errorf("%s: keys %s and %s of one build", what, k, again)
		}
	}
	write("site/etc/a", "one", 0o644)
	write("site/etc/b", "b", 0o644)
	site := Options{Overlays: []string{filepath.Join(dir, "site")}}
	distinct("nothing added", Options{})
	distinct("a module", Options{Modules: []string{"i2c-dev"}})
	distinct("two modules", Options{Modules: []string{"i2c-dev", "loop"}})
	distinct("an overlay", site)
	distinct("the file alone", Options{Files: []string{filepath.Join(dir, "site/etc/a") + ":/etc/a"}})
	distinct("the file at another place", Options{Files: []string{filepath.Join(dir, "site/etc/a") + ":/etc/c"}})
	write("site/etc/a", "two", 0o644)
	distinct("other content of the same size", site)
	write("site/etc/a", "two", 0o755)
	distinct("a program", site)
	if err := os.Rename(filepath.Join(dir, "site/etc/b"), filepath.Join(dir, "site/etc/c")); err != nil {
		t.Fatal(err)
	}
	distinct("another name", site)
	if err := os.Symlink("a", filepath.Join(dir, "site/etc/d")); err != nil {
		t.Fatal(err)
	}
	distinct("a link", site)
}

func TestFileThatChangesDuringTheBuildIsRefused(t *testing.T) {
	b := &builder{added: added{sums: map[string][32]byte{"a.conf": {1}}}}
	laid := []extra.Laid{{Entry: tree.Entry{Path: "etc/a.conf", Mode: 0o644, File: "a.conf"}}}
	if _, err := b.describeAdded(laid, map[string]tree.Sum{"etc/a.conf": {SHA256: [32]byte{1}}}); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if _, err := b.describeAdded(laid, map[string]tree.Sum{"etc/a.conf": {SHA256: [32]byte{2}}}); err == nil || !strings.Contains(err.Error(), "a.conf changed") {
		t.Errorf("changed: %v, want an error that names it", err)
	}
}

type notes struct {
	silent
	lines []string
}

func (n *notes) Note(line string) { n.lines = append(n.lines, line) }

func TestReplacedFilesAreNotedInOneLine(t *testing.T) {
	var n notes
	b := &builder{progress: &n}
	b.noteReplaced([]addedFile{{Source: "board pc", Path: "/etc/x", Replaces: "debian x"}, {Source: "file y", Path: "/etc/y"}})
	if len(n.lines) != 0 {
		t.Errorf("notes %q, want none: the user replaced nothing", n.lines)
	}
	var many []addedFile
	for i := range maxNoted + 2 {
		many = append(many, addedFile{Source: "overlay site", Path: "/etc/" + string(rune('a'+i)), Replaces: "debian x"})
	}
	b.noteReplaced(many)
	if len(n.lines) != 1 || !strings.Contains(n.lines[0], "/etc/a, /etc/b") || !strings.Contains(n.lines[0], "and 2 more") {
		t.Errorf("notes %q, want one line with the first paths and how many more", n.lines)
	}
}
