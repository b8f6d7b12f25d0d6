package pkgs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHostMirrorIsTheHostsOwnDebianMirror(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  mirror
		fails bool
	}{
		{name: "deb822", files: map[string]string{"sources.list.d/debian.sources": `Types: deb deb-src
# a comment
URIs: http://one.example/debian/
Suites: bookworm bookworm-updates
Components: main
 contrib

Types: deb
URIs: http://two.example/sec
Suites: bookworm-security
Components: main
`}, want: mirror{"http://one.example/debian", "http://two.example/sec"}},
		{name: "one line", files: map[string]string{"sources.list": `
deb cdrom:[Debian 13]/ trixie main
# deb http://old.example/debian trixie main
deb [arch=amd64 signed-by=/x.gpg] https://one.example/debian trixie main non-free-firmware
deb https://one.example/debian-security/ trixie-security main
`}, want: mirror{"https://one.example/debian", "https://one.example/debian-security"}},
		{name: "no security entry", files: map[string]string{"sources.list": "deb https://one.example/debian sid main"},
			want: mirror{"https://one.example/debian", "https://one.example/debian-security"}},
		{name: "others are passed over", files: map[string]string{
			"sources.list.d/a.list":    "deb https://other.example/apt stable-x main\n",
			"sources.list.d/b.sources": "Types: deb\nEnabled: no\nURIs: https://off.example/debian\nSuites: trixie\nComponents: main\n",
			"sources.list.d/c.list":    "deb https://one.example/debian stable main"},
			want: mirror{"https://one.example/debian", "https://one.example/debian-security"}},
		{name: "not Debian", files: map[string]string{"sources.list": "deb https://other.example/ubuntu noble main"}, fails: true},
		{name: "nothing", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				f := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := hostMirror(dir)
			if (err != nil) != c.fails || got != c.want && !c.fails {
				t.Errorf("hostMirror = %v, %v, want %v, failing %v", got, err, c.want, c.fails)
			}
		})
	}
}

func TestMirrorOption(t *testing.T) {
	for _, c := range []struct {
		in    string
		want  mirror
		fails bool
	}{
		{"https://m.example/debian", mirror{"https://m.example/debian", "https://m.example/debian-security"}, false},
		{"https://m.example/debian/", mirror{"https://m.example/debian", "https://m.example/debian-security"}, false},
		{"https://m.example/a,https://m.example/b/", mirror{"https://m.example/a", "https://m.example/b"}, false},
		{"https://m.example/a", mirror{}, true},
		{"https://m.example/a,", mirror{}, true},
		{"m.example", mirror{}, true},
		{"https://m.example/debian trusted", mirror{}, true},
		{"", mirror{}, true},
	} {
		got, err := parseMirror(c.in)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("parseMirror(%q) = %v, %v, want %v, failing %v", c.in, got, err, c.want, c.fails)
		}
	}
}

func FuzzStanzas(f *testing.F) {
	f.Add("Package: a\nDepends: b,\n c\n\n# x\nPackage: d\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range stanzas(text) {
			if len(s) == 0 {
				t.Error("an empty stanza")
			}
		}
	})
}
