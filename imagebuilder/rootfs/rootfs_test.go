package rootfs

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/kmod"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
	"github.com/keelson-os/keelson/overlays"
)

// opened is what a board's packages are, from the user's cache or, at the first run, from the mirror.
type opened struct {
	board   *boards.Board
	set     *pkgs.Set
	modules *kmod.Tree
}

var (
	openedMu sync.Mutex
	openedBy = map[string]*opened{}
)

// open returns the packages of a board. Without a mirror and a cache the test is skipped, and fails in CI.
func open(t *testing.T, name string) *opened {
	t.Helper()
	openedMu.Lock()
	defer openedMu.Unlock()
	if o := openedBy[name]; o != nil {
		return o
	}
	b, err := boards.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := pkgs.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	set, err := pkgs.Open(context.Background(), pkgs.Options{Spec: Packages(b), Lock: b.Lock, LockName: "boards/" + name + "/packages.lock",
		Log: func(line string) { t.Log(line) }})
	var tool *pkgs.ToolError
	if (errors.Is(err, pkgs.ErrUnavailable) || errors.As(err, &tool)) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	modules, err := kmod.Open(context.Background(), set, cache)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{b, set, modules}
	openedBy[name] = o
	return o
}

// standIns returns a folder with what is in this test program as node, and a line of text for each other program.
func standIns(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, p := range programs {
		data := []byte(p.name + "\n")
		if p.name == "node" {
			data = code[64:] // without the header, which is of one architecture
		}
		if err := os.WriteFile(filepath.Join(dir, p.name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func assemble(t *testing.T, o *opened) *tree.Tree {
	t.Helper()
	return assembleVersion(t, o, "1.2.3")
}

func assembleVersion(t *testing.T, o *opened, version string) *tree.Tree {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(archive, []byte("an archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err := Assemble(context.Background(), Input{Board: o.board, Packages: o.set, Modules: o.modules, Programs: standIns(t),
		Version: version, Images: map[string]string{"pause.tar": archive}})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestEveryBoardHasARoot checks board data against its kernel and packages: every pattern for modules and
// firmware matches (Assemble and Select refuse one that does not), and what the node and PID 1 run is there.
func TestEveryBoardHasARoot(t *testing.T) {
	for _, name := range boards.List() {
		t.Run(name, func(t *testing.T) {
			o := open(t, name)
			tr := assemble(t, o)
			modules := "usr/lib/modules/" + o.modules.Version + "/"
			for _, p := range []string{"init", "usr/bin/node", "usr/bin/kubectl", "usr/bin/ctr", "usr/sbin/modprobe", "usr/sbin/nft", "usr/bin/mount",
				"usr/bin/umount", "usr/sbin/mke2fs", "usr/sbin/mkfs.ext4", "usr/sbin/e2fsck", "usr/sbin/resize2fs", "usr/sbin/fsck",
				"usr/sbin/blkid", "usr/sbin/losetup", "usr/sbin/blockdev", "opt/cni/bin/bridge", "usr/share/keelson/images/pause.tar",
				"etc/os-release", "etc/mke2fs.conf", "etc/ssl/certs/ca-certificates.crt", modules + "modules.dep",
				modules + "modules.alias", modules + "modules.softdep", modules + "modules.builtin"} {
				if _, ok := tr.Get(p); !ok {
					t.Errorf("%s is not in the root", p)
				}
			}
			if _, err := o.modules.Select(o.board.Modules.Initramfs); err != nil {
				t.Error(err)
			}
			checkLinks(t, tr)
		})
	}
}

func TestWantedModulesAreInTheRootAndThoseWithNamesLoaded(t *testing.T) {
	o := open(t, "pc")
	in := Input{Packages: o.set, Modules: o.modules, Programs: standIns(t), Version: "1"}
	with := func(load, wants []string) (*tree.Tree, error) {
		board := *o.board
		board.Modules.Load, in.Board, in.Wants = load, &board, wants
		return Assemble(context.Background(), in)
	}
	tr, err := with([]string{"w1-gpio"}, []string{"ip_vs", "fs/minix", "w1_gpio", "ip_vs"})
	if err != nil {
		t.Fatal(err)
	}
	kernel := "usr/lib/modules/" + o.modules.Version + "/kernel/"
	for _, m := range []string{"drivers/w1/masters/w1-gpio", "drivers/w1/wire", "net/netfilter/ipvs/ip_vs", "fs/minix/minix"} { // the board excludes ip_vs, w1-gpio needs wire
		if _, ok := tr.Get(kernel + m + ".ko.xz"); !ok {
			t.Errorf("no module %s in the root", m)
		}
	}
	e, _ := tr.Get("etc/modules-load.d/keelson.conf")
	if _, list, _ := strings.Cut(string(e.Data), "\n"); list != "w1_gpio\nip_vs\n" {
		t.Errorf("modules to load are %q, want w1_gpio and ip_vs", e.Data)
	}
	if _, err := with(nil, []string{"wiregaurd"}); !errors.Is(err, kmod.ErrUnknown) || !strings.Contains(err.Error(), "wireguard") {
		t.Errorf("an unknown module: %v, want ErrUnknown with the nearest", err)
	}
	if tr, err = with(nil, []string{"fs/minix"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := tr.Get("etc/modules-load.d/keelson.conf"); ok {
		t.Error("a list of modules to load without any")
	}
}

func TestEveryBoardsOverlaysAreThere(t *testing.T) {
	for _, name := range boards.List() {
		b, err := boards.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range b.Overlays {
			if _, err := overlays.Read(o); err != nil {
				t.Errorf("board %s: %v", name, err)
			}
		}
	}
}

// checkLinks demands that every link leads to an entry, but for those to what PID 1 makes at run time.
func checkLinks(t *testing.T, tr *tree.Tree) {
	for _, e := range tr.Entries() {
		if e.Link == "" || strings.HasPrefix(e.Link, "/run") || strings.HasPrefix(e.Link, "/proc/") {
			continue
		}
		to := strings.TrimPrefix(e.Link, "/")
		if to == e.Link {
			to = filepath.Join(filepath.Dir(e.Path), e.Link)
		}
		if _, ok := tr.Get(to); !ok {
			t.Errorf("%s → %s: not in the root", e.Path, e.Link)
		}
	}
}

// TestDebianProgramsStart runs every Debian program of the root with the root's own loader and libraries.
func TestDebianProgramsStart(t *testing.T) {
	o := open(t, "pc")
	if runtime.GOARCH != o.board.Arch {
		t.Skipf("the board's programs do not run on %s", runtime.GOARCH)
	}
	tr := assemble(t, o)
	dir := t.TempDir()
	for _, e := range tr.Entries() {
		if e.Origin.Kind != tree.Debian || e.Mode.IsDir() || !strings.HasPrefix(e.Path, "usr/lib/x86_64") && !strings.HasPrefix(e.Path, "usr/sbin") && !strings.HasPrefix(e.Path, "usr/bin") {
			continue
		}
		to := filepath.Join(dir, e.Path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		from := e.File
		if e.Link != "" {
			from = e.Link
		}
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	lib := filepath.Join(dir, "usr/lib/x86_64-linux-gnu")
	for _, args := range [][]string{{"sbin/nft", "--version"}, {"bin/mount", "--version"}, {"bin/umount", "--version"}, {"sbin/losetup", "--version"},
		{"sbin/blkid", "--version"}, {"sbin/blockdev", "--version"}, {"sbin/fsck", "--version"}, {"sbin/mke2fs", "-V"}, {"sbin/e2fsck", "-V"}, {"sbin/resize2fs"}} {
		cmd := exec.Command(filepath.Join(lib, "ld-linux-x86-64.so.2"), append([]string{"--inhibit-cache", "--library-path", lib, filepath.Join(dir, "usr", args[0])}, args[1:]...)...)
		// The host's libraries must not help out.
		cmd.Env = []string{"LC_ALL=C"}
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), "error while loading") || len(out) == 0 {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	o := open(t, "pc")
	_, err := Assemble(context.Background(), Input{Board: o.board, Packages: o.set, Modules: o.modules, Programs: t.TempDir(), Version: "1"})
	var missing *ProgramsError
	if !errors.As(err, &missing) || len(missing.Missing) != len(programs) {
		t.Errorf("Assemble = %v, want *ProgramsError with %d names", err, len(programs))
	}
}

// TestImageIsTheSameBytesEverywhere writes one root under several umasks and time zones, in several folders, with one to
// eight threads.
func TestImageIsTheSameBytesEverywhere(t *testing.T) {
	o := open(t, "pc")
	for format, runs := range map[Format]int{Default: 3, EROFS: 2} { // as the other one is slow
		t.Run(string(format), func(t *testing.T) {
			var first []byte
			for i, c := range []struct {
				umask   int
				tz      string
				threads int
			}{{0o022, "UTC", 3}, {0o077, "Asia/Tokyo", 1}, {0o002, "", 8}}[:runs] {
				old := syscall.Umask(c.umask)
				t.Setenv("TZ", c.tz)
				t.Setenv("TMPDIR", t.TempDir())
				file := writeWith(t, o, format, c.threads)
				syscall.Umask(old)
				got, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if len(got)%4096 != 0 {
					t.Errorf("the image has %d bytes, want a multiple of 4096", len(got))
				}
				if i == 0 {
					first = got
				} else if !bytes.Equal(first, got) {
					t.Errorf("images differ: %d and %d bytes", len(first), len(got))
				}
				if i == 0 && format == Squashfs {
					checkSquashfs(t, file, o)
				}
			}
		})
	}
}

// writeWith writes an image with threads threads.
func writeWith(t *testing.T, o *opened, format Format, threads int) string {
	t.Helper()
	tr := assemble(t, o)
	sums, err := tr.Sums()
	if err != nil {
		t.Fatal(err)
	}
	img, err := WriteImage(context.Background(), tr, sums, ImageOptions{Format: format, Epoch: o.set.Epoch(), Tools: o.set.Tools(), threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	return img.File
}

// checkSquashfs reads the image back with the reference tool.
func checkSquashfs(t *testing.T, file string, o *opened) {
	out, err := o.set.Tools().Command(context.Background(), "unsquashfs", "-lln", "-UTC", file).CombinedOutput()
	if err != nil {
		t.Fatalf("unsquashfs: %v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	tr := assemble(t, o)
	if want := len(tr.Entries()); len(lines) != want {
		t.Errorf("the image has %d entries, the tree %d", len(lines), want)
	}
	stamp := o.set.Epoch().Format("2006-01-02 15:04")
	for _, l := range lines {
		f := strings.Fields(l)
		if f[1] != "0/0" || !strings.Contains(l, stamp) {
			t.Errorf("owner or time is not root's or %s: %s", stamp, l)
		}
	}
	for _, want := range []string{"drwxrwxrwt", "drwx------"} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			t.Errorf("no entry with mode %s", want)
		}
	}
	if out, err := o.set.Tools().Command(context.Background(), "unsquashfs", "-d", filepath.Join(t.TempDir(), "out"), "-no-progress", file, "etc", "usr/lib/os-release").CombinedOutput(); err != nil {
		t.Errorf("unsquashfs: %v: %s", err, out)
	}
}

// TestANewVersionLeavesMostBlocksInPlace writes two roots that differ in their version, which has another length: all
// that comes before the programs must be the same bytes at the same place.
func TestANewVersionLeavesMostBlocksInPlace(t *testing.T) {
	o := open(t, "pc")
	var images [2][]byte
	for i, version := range []string{"0.9.0", "0.10.0-with-a-longer-name"} {
		tr := assembleVersion(t, o, version)
		sums, err := tr.Sums()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", t.TempDir())
		img, err := WriteImage(context.Background(), tr, sums, ImageOptions{Epoch: o.set.Epoch(), Tools: o.set.Tools()})
		if err != nil {
			t.Fatal(err)
		}
		if images[i], err = os.ReadFile(img.File); err != nil {
			t.Fatal(err)
		}
	}
	const block = 4096
	a, b := images[0], images[1]
	same := block // the first block has the length and the places of the tables
	for same+block <= min(len(a), len(b)) && bytes.Equal(a[same:same+block], b[same:same+block]) {
		same += block
	}
	if same < len(b)*8/10 {
		t.Errorf("%d of %d bytes are in place, want 80 %%", same, len(b))
	}
}

func TestCacheHoldsAFewImages(t *testing.T) {
	dir := t.TempDir()
	for i := range keep + 3 {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != keep {
		t.Errorf("%d images left, %v, want %d", len(left), err, keep)
	}
}

// TestProgramsThatStartNowhere refuses what a kernel would only call "no working init".
func TestProgramsThatStartNowhere(t *testing.T) {
	program := func(machine elf.Machine, kind elf.ProgType) []byte {
		h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
		copy(h.Ident[:], elf.ELFMAG)
		h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
		var b bytes.Buffer
		if err := errors.Join(binary.Write(&b, binary.LittleEndian, h), binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(kind)})); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	file := filepath.Join(t.TempDir(), "init")
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"static", program(elf.EM_X86_64, elf.PT_LOAD), ""},
		{"dynamic", program(elf.EM_X86_64, elf.PT_INTERP), "CGO_ENABLED=0"},
		{"of another architecture", program(elf.EM_AARCH64, elf.PT_LOAD), "EM_AARCH64"},
		{"a script", []byte("#!\n"), ""},
		{"empty", nil, ""},
	} {
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		err := checkProgram(file, "amd64")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
