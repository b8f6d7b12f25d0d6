package extra

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keelson-os/keelson/imagebuilder/tree"
	"github.com/keelson-os/keelson/overlays"
)

func TestParseFileSplitsAtTheLastColonBeforeASlash(t *testing.T) {
	for _, c := range []struct{ arg, from, to string }{
		{"app.conf:/etc/app.conf", "app.conf", "/etc/app.conf"},
		{"./a:b/c:/etc/x/", "./a:b/c", "/etc/x/"},
		{"a:/b:/c", "a:/b", "/c"},
		{"a:/", "a", "/"},
		{"a:/x:y", "a", "/x:y"},
	} {
		from, to, err := ParseFile(c.arg)
		if err != nil || from != c.from || to != c.to {
			t.Errorf("ParseFile(%q) = %q, %q, %v, want %q, %q", c.arg, from, to, err, c.from, c.to)
		}
	}
	for _, arg := range []string{"", "a", "a:", "a:etc/x", ":/etc/x", "a:/etc/../x", "a:/etc//x", "a://", "a:/./x", "a:/x\n", "a:/\xff"} {
		if from, to, err := ParseFile(arg); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseFile(%q) = %q, %q, %v, want ErrSyntax", arg, from, to, err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add("app.conf:/etc/app.conf")
	f.Add("a:b:/c/")
	f.Add(":/../x")
	f.Fuzz(func(t *testing.T, arg string) {
		from, to, err := ParseFile(arg)
		if err != nil {
			return
		}
		if from+":"+to != arg {
			t.Errorf("ParseFile(%q) = %q and %q, which are not its parts", arg, from, to)
		}
		if p := strings.Trim(to, "/"); p != "" && !fs.ValidPath(p) || !strings.HasPrefix(to, "/") {
			t.Errorf("ParseFile(%q): the destination %q is no clean absolute path", arg, to)
		}
	})
}

// files makes files (path to text) below a new folder; a text "-> x" makes a link, a path that ends in "/" a folder, and
// a text that begins with "#!" a program.
func files(t *testing.T, list map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range list {
		file := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(file), 0o700)
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(file, 0o700)
		case link:
			err = os.Symlink(target, file)
		case strings.HasPrefix(text, "#!"):
			err = os.WriteFile(file, []byte(text), 0o700)
		default:
			err = os.WriteFile(file, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines describes entries: "PATH MODE" or "PATH -> TARGET".
func lines(entries []tree.Entry) string {
	var out []string
	for _, e := range entries {
		if e.Link != "" {
			out = append(out, e.Path+" -> "+e.Link)
		} else {
			out = append(out, e.Path+" "+e.Mode.String())
		}
	}
	return strings.Join(out, "\n")
}

func TestFileTakesFilesFoldersAndTheirLinks(t *testing.T) {
	dir := files(t, map[string]string{
		"app.conf": "x", "run": "#!", "link": "-> app.conf", "f/sub/b": "b", "f/sub/to": "-> ../a", "f/a": "a", "f/empty/": "", "to-f": "-> f",
	})
	const folder = "etc/x drwxr-xr-x\netc/x/a -rw-r--r--\netc/x/empty drwxr-xr-x\netc/x/sub drwxr-xr-x\netc/x/sub/b -rw-r--r--\netc/x/sub/to -> ../a"
	for _, c := range []struct{ from, to, want string }{
		{"app.conf", "/etc/my.conf", "etc/my.conf -rw-r--r--"},
		{"app.conf", "/etc/", "etc/app.conf -rw-r--r--"},
		{"app.conf", "/", "app.conf -rw-r--r--"},
		{"run", "/opt/run", "opt/run -rwxr-xr-x"},
		{"link", "/etc/", "etc/link -rw-r--r--"},
		{"f", "/etc/x", folder},
		{"to-f", "/etc/x", folder},
		{"f/sub/..", "/etc/x/", strings.ReplaceAll(folder, "etc/x", "etc/x/f")},
	} {
		l, err := File(dir + "/" + c.from + ":" + c.to)
		if err != nil || lines(l.Entries) != c.want {
			t.Errorf("File(%s:%s) = %v\n%s\nwant\n%s", c.from, c.to, err, lines(l.Entries), c.want)
		}
		for _, e := range l.Entries {
			if e.Origin.Kind != tree.User || !strings.HasPrefix(e.Origin.Name, "file ") || strings.Contains(e.Origin.Name, "/") {
				t.Errorf("%s is from %v, want the user and a name without folders", e.Path, e.Origin)
			}
		}
	}
}

func TestOverlayIsATreeWithTheNodesPaths(t *testing.T) {
	dir := files(t, map[string]string{"etc/a": "a", "usr/local/bin/b": "#!", "etc/to": "-> /run/x", "etc/up": "-> ../usr/local"})
	l, err := Overlay(dir)
	want := "etc drwxr-xr-x\netc/a -rw-r--r--\netc/to -> /run/x\netc/up -> ../usr/local\nusr drwxr-xr-x\nusr/local drwxr-xr-x\nusr/local/bin drwxr-xr-x\nusr/local/bin/b -rwxr-xr-x"
	if err != nil || lines(l.Entries) != want {
		t.Errorf("Overlay = %v\n%s\nwant\n%s", err, lines(l.Entries), want)
	}
	if name := l.Entries[0].Origin.Name; name != "overlay "+filepath.Base(dir) {
		t.Errorf("its name is %q, want the folder's", name)
	}
}

func TestWhatCannotBeAddedIsRefused(t *testing.T) {
	dir := files(t, map[string]string{
		"empty/etc/": "", "out/a": "-> ../../x", "abs/a": "-> /etc/passwd", "a": "a", "ctl/a\nb": "x", "loop": "-> loop", "dangling": "-> none",
	})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "pipes"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipes", "p"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(from string) func() (Layer, error) {
		return func() (Layer, error) { return File(filepath.Join(dir, from) + ":/etc/x") }
	}
	overlay := func(from string) func() (Layer, error) {
		return func() (Layer, error) { return Overlay(filepath.Join(dir, from)) }
	}
	for _, c := range []struct {
		name string
		do   func() (Layer, error)
		want error
		text string
	}{
		{"no such file", file("none"), fs.ErrNotExist, "--file "},
		{"dangling link", file("dangling"), fs.ErrNotExist, "--file "},
		{"link to itself", file("loop"), syscall.ELOOP, "--file "},
		{"pipe", file("pipe"), ErrType, "is a named pipe"},
		{"empty folder", file("empty"), ErrNothing, "--file "},
		{"absolute link in a folder", file("abs"), ErrLink, "/etc/passwd"},
		{"link out of a folder", file("out"), ErrLink, "../../x"},
		{"no such overlay", overlay("none"), fs.ErrNotExist, "--overlay "},
		{"file as overlay", overlay("a"), nil, "--file"},
		{"empty overlay", overlay("empty"), ErrNothing, "--overlay "},
		{"link out of an overlay", overlay("out"), ErrLink, "../../x"},
		{"pipe in an overlay", overlay("pipes"), ErrType, "p is a named pipe"},
		{"control character", overlay("ctl"), nil, "control"},
	} {
		_, err := c.do()
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.want, c.text)
		}
	}
}

// root is a little root on the base overlay.
func root(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New()
	base, err := Embedded(overlays.Base)
	if err != nil {
		t.Fatal(err)
	}
	deb, made := tree.Origin{Kind: tree.Debian, Name: "some"}, tree.Origin{Kind: tree.Keelson, Name: "layout"}
	for _, err := range []error{
		tr.AddAll(base.Entries),
		tr.AddData("init", 0o755, nil, tree.Origin{Kind: tree.Program, Name: "init"}),
		tr.AddData("usr/bin/node", 0o755, nil, tree.Origin{Kind: tree.Program, Name: "node"}),
		tr.AddData("usr/sbin/nft", 0o755, nil, deb),
		tr.AddData("usr/lib/firmware/a.bin", 0o644, nil, deb),
		tr.AddData("usr/lib/modules/6/modules.dep", 0o644, nil, made),
		tr.AddData("usr/share/keelson/images/pause.tar", 0o644, nil, made),
		tr.AddData("etc/ssl/certs/ca-certificates.crt", 0o644, nil, deb),
		tr.AddData("etc/"+ModulesLoad, 0o644, nil, made),
		tr.AddLink("etc/os-release", "../usr/lib/os-release", made),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// layer has a file of the user's, or a folder if the path ends in "/".
func layer(name, path string) Layer {
	e := tree.Entry{Path: strings.TrimSuffix(path, "/"), Mode: 0o644, Data: []byte(name), Origin: tree.Origin{Kind: tree.User, Name: name}}
	if e.Path != path {
		e.Mode, e.Data = fs.ModeDir|0o755, nil
	}
	return Layer{Given: "--overlay " + name, Entries: []tree.Entry{e}}
}

func TestLayersMayAddAndReplace(t *testing.T) {
	for _, c := range []struct{ path, at, replaces string }{
		{"etc/new/app.conf", "etc/new/app.conf", ""},
		{"opt/cni/bin/tuning", "opt/cni/bin/tuning", ""},
		{"root/.profile", "root/.profile", ""},
		{"bin/tool", "usr/bin/tool", ""},
		{"lib/firmware/new.bin", "usr/lib/firmware/new.bin", ""},
		{"lib/firmware/a.bin", "usr/lib/firmware/a.bin", "debian some"},
		{"etc/nsswitch.conf", "etc/nsswitch.conf", "keelson overlay base"},
		{"etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt", "debian some"},
		{"etc/modules-load.d/mine.conf", "etc/modules-load.d/mine.conf", ""},
	} {
		tr := root(t)
		laid, err := Lay(tr, []Layer{layer("x", c.path)})
		if err != nil || len(laid) != 1 || laid[0].Path != c.at || laid[0].Replaces != c.replaces {
			t.Errorf("Lay of %s = %+v, %v, want it at %s in place of %q", c.path, laid, err, c.at, c.replaces)
			continue
		}
		if e, _ := tr.Get(c.at); string(e.Data) != "x" {
			t.Errorf("Lay of %s: the root has %q there", c.path, e.Data)
		}
	}
}

func TestWhatBelongsToTheNodeIsNotReplaced(t *testing.T) {
	for _, path := range []string{
		"init", "usr/bin/node", "sbin/nft", "usr/sbin/nft", "usr/lib/modules/6/extra.ko", "lib/modules/6/modules.dep", "usr/lib/modules/7/", "usr/share/keelson/images/pause.tar",
		"usr/share/keelson/x", "etc/machine-id", "etc/hosts", "etc/resolv.conf", "etc/mtab", "etc/os-release", "etc/" + ModulesLoad, "etc/coredns/custom", "etc/rancher/k3s/config.yaml",
		"run/x", "var/run/x", "var/log/x", "var/lib/rancher/x", "var/lib/kubelet/x", "var/lib/cni/x/", "proc/x", "tmp/x/", "dev/x", "efi/x",
		"bin", "lib64", "etc", "etc/passwd/", "etc/cni/net.d",
	} {
		tr := root(t)
		before := len(tr.Entries())
		if laid, err := Lay(tr, []Layer{layer("x", path)}); !errors.Is(err, ErrBelongs) || !strings.Contains(err.Error(), "/"+strings.TrimSuffix(path, "/")+" ") || !strings.HasPrefix(err.Error(), "--overlay x: ") {
			t.Errorf("Lay of %s = %v, %v, want ErrBelongs with layer and path", path, laid, err)
		}
		if len(tr.Entries()) != before {
			t.Errorf("Lay of %s changed the root", path)
		}
	}
}

func TestLaterLayersWinAndFoldersKeepTheirMode(t *testing.T) {
	tr := root(t)
	laid, err := Lay(tr, []Layer{layer("one", "opt/a"), layer("two", "opt/a"), layer("one", "root/"), layer("one", "tmp/")})
	if err != nil || len(laid) != 1 || laid[0].Origin.Name != "two" || laid[0].Replaces != "user one" {
		t.Errorf("Lay = %+v, %v, want opt/a of two in place of user one", laid, err)
	}
	for path, want := range map[string]fs.FileMode{"root": fs.ModeDir | 0o700, "tmp": fs.ModeDir | fs.ModeSticky | 0o777} {
		if e, _ := tr.Get(path); e.Mode != want {
			t.Errorf("%s has mode %v, want %v", path, e.Mode, want)
		}
	}
}

func TestLinksOfLayersAreFollowedAndCannotLoop(t *testing.T) {
	link := func(path, target string) Layer {
		return Layer{Given: "--overlay x", Entries: []tree.Entry{{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target, Origin: tree.Origin{Kind: tree.User, Name: "x"}}}}
	}
	tr := root(t)
	if _, err := Lay(tr, []Layer{link("opt/to", "../srv"), layer("x", "opt/to/a"), link("srv/root", "/"), layer("x", "srv/root/srv/b")}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"srv/a", "srv/b"} {
		if _, ok := tr.Get(path); !ok {
			t.Errorf("no %s in the root", path)
		}
	}
	if _, err := Lay(root(t), []Layer{link("opt/l", "/run/x"), layer("x", "opt/l/a")}); !errors.Is(err, ErrBelongs) {
		t.Errorf("a file behind a link to /run: %v, want ErrBelongs", err)
	}
	if _, err := Lay(root(t), []Layer{link("opt/a", "b"), link("opt/b", "a"), layer("x", "opt/a/c")}); err == nil || !strings.Contains(err.Error(), "symbolic links") {
		t.Errorf("links in a circle: %v, want an error", err)
	}
}

func TestBoardsFilesAreInOrder(t *testing.T) {
	l := Board("pc", map[string][]byte{"etc/b": []byte("b"), "etc/a": nil})
	if got := lines(l.Entries); got != "etc/a -rw-r--r--\netc/b -rw-r--r--" {
		t.Errorf("Board = %s", got)
	}
}
