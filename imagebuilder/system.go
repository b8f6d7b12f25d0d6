package imagebuilder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder/disk"
	"github.com/keelson-os/keelson/imagebuilder/extra"
	"github.com/keelson-os/keelson/imagebuilder/initramfs"
	"github.com/keelson-os/keelson/imagebuilder/kmod"
	"github.com/keelson-os/keelson/imagebuilder/oci"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/rootfs"
	"github.com/keelson-os/keelson/imagebuilder/sbom"
	"github.com/keelson-os/keelson/imagebuilder/tree"
	"github.com/keelson-os/keelson/imagebuilder/verity"
	"github.com/keelson-os/keelson/imagebuilder/vmimage"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// systemFormat changes when the files of a cached system change their meaning.
const systemFormat = "4"

// Files of a system in the cache.
const (
	rootFile    = "root.img" // filesystem, verity superblock and tree
	initrdFile  = "initrd.img"
	kernelFile  = "vmlinuz"
	busyboxFile = "busybox.tar"
	sbomFile    = "spdx.json"
	infoFile    = "system.json" // written last
)

// system is what an image is made of besides the user's own files. It is a folder of the cache.
type system struct {
	dir  string
	info systemInfo
}

// systemInfo describes a system; it is systemFile's content.
type systemInfo struct {
	Key           string
	Epoch         time.Time
	KernelVersion string
	Kubernetes    string // version in the node's program, as kubernetesVersion
	RootFormat    string
	RootSize      int64 // of the filesystem alone, bytes
	Tree          verity.Tree
	Packages      []packageInfo
	Added         []addedFile // to the root, by the board and the user
	Raw           []rawInfo   // rawFile(i) is what is at Raw[i]
	// Files are the sizes and digests of the system's files, by name.
	Files map[string]fileInfo
}

type packageInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	SHA256  string `json:"sha256"`
}

type fileInfo struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// builder is the state of one Build.
type builder struct {
	opts     Options
	board    *boards.Board
	cache    string
	memo     *memo
	progress Progress
	traefik  bool // the root has Traefik's image
	format   vmimage.Format
	added    added
	keys     []bundle.PublicKey // whose bundles a node that runs this will take
}

// path returns the file of a system.
func (s *system) path(name string) string { return filepath.Join(s.dir, name) }

// read returns the content of a system's file.
func (s *system) read(name string) ([]byte, error) { return os.ReadFile(s.path(name)) }

// programNames are the programs that a system's key covers; rootfs and initramfs take what they need.
func programNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no folder %s with the node's programs: build them with \"make build BOARD=NAME\", this board's name, or say where they are with --programs", dir)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() || e.Type()&fs.ModeSymlink != 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil // ReadDir sorts
}

// systemKey digests everything a system depends on: this builder itself (its program file holds the
// boards, the overlays and all code), the package lock, the node's programs and what the user adds to the root. So a system
// with Traefik and one without are two.
func (b *builder) systemKey(lock []byte) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program's own file: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "system %s\x00%s\x00%s\x00", systemFormat, b.opts.Board, b.opts.Version)
	add := func(name, file string) error {
		sum, err := b.memo.sum(file)
		fmt.Fprintf(h, "%s\x00%x", name, sum)
		return err
	}
	if err := add("keelson", self); err != nil {
		return "", err
	}
	fmt.Fprintf(h, "lock\x00%d\x00%s", len(lock), lock)
	names, err := programNames(b.opts.Programs)
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if n == traefikProgram && !b.traefik {
			continue
		}
		if err := add(n, filepath.Join(b.opts.Programs, n)); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(h, "traefik\x00%t", b.traefik)
	if err := b.addToKey(h); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// system returns the system of the options: from the cache, or made now.
func (b *builder) system(ctx context.Context) (*system, error) {
	lock, lockName := b.board.Lock, "boards/"+b.board.Name+"/packages.lock"
	if b.opts.LockFile != "" {
		lockName = b.opts.LockFile
		var err error
		if lock, err = os.ReadFile(lockName); err != nil && !(b.opts.UpdateLock && errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("package lock: %w", err)
		}
	}
	open := pkgs.Options{
		Spec: rootfs.Packages(b.board), Lock: lock, LockName: lockName,
		CacheDir: b.cache, Mirror: b.opts.Mirror, AllowMoved: b.opts.AllowMoved,
		Log: func(line string) { b.progress.Step(line, 0) },
	}
	fetching := false
	open.Progress = func(done, total int64) {
		if !fetching {
			fetching = true
			b.progress.Step("downloading packages", total)
		}
		b.progress.Done(done)
	}
	if b.opts.UpdateLock {
		open.UpdateLock = b.opts.LockFile
	} else {
		inUse, err := pkgs.LockInUse(open)
		if err != nil {
			return nil, err
		}
		dir, key, err := b.systemDir(inUse)
		if err != nil {
			return nil, err
		}
		if s, err := b.kept(dir, key); s != nil || err != nil {
			return s, err
		}
	}
	set, err := pkgs.Open(ctx, open)
	if err != nil {
		return nil, err
	}
	dir, key, err := b.systemDir(set.LockText())
	if err != nil {
		return nil, err
	}
	if s, err := b.kept(dir, key); s != nil || err != nil {
		return s, err
	}
	return b.newSystem(ctx, dir, key, set)
}

// kept returns the cache's system of a key, or nil.
func (b *builder) kept(dir, key string) (*system, error) {
	s, err := b.cached(dir, key)
	if err == nil {
		now := time.Now() // marks it as used, for prune; no part of any artefact
		return s, os.Chtimes(dir, now, now)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	b.progress.Note(fmt.Sprintf("cached system is damaged, making it anew: %v", err))
	return nil, os.RemoveAll(dir)
}

// systemDir returns the place in the cache, and the key, of the system of a lock.
func (b *builder) systemDir(lock []byte) (dir, key string, err error) {
	if key, err = b.systemKey(lock); err != nil {
		return "", "", err
	}
	if err := b.memo.save(); err != nil {
		return "", "", fmt.Errorf("cache: %w", err)
	}
	return filepath.Join(b.cache, "system", key), key, nil
}

// newSystem makes the system of a set of packages, of that key, in the cache's folder dir.
func (b *builder) newSystem(ctx context.Context, dir, key string, set *pkgs.Set) (*system, error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := b.makeSystem(ctx, temp, key, set); err != nil {
		return nil, err
	}
	if err := os.Rename(temp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err // it exists: another build was faster
	}
	if err := prune(parent, keepSystems); err != nil {
		return nil, err
	}
	return b.cached(dir, key)
}

// cached reads a system from the cache and compares its files with their digests: a cache
// that a full disk or a crash has damaged must not end in an image. fs.ErrNotExist: not there.
func (b *builder) cached(dir, key string) (*system, error) {
	s := &system{dir: dir}
	text, err := s.read(infoFile)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &s.info); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(infoFile), err)
	}
	if s.info.Key != key {
		return nil, fmt.Errorf("%s: is of key %s, want %s", s.path(infoFile), s.info.Key, key)
	}
	for name, want := range s.info.Files {
		sum, err := b.memo.sum(s.path(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %v", s.path(name), err)
		}
		if got := hex.EncodeToString(sum[:]); got != want.SHA256 {
			return nil, fmt.Errorf("%s: sha256 is %s, want %s", s.path(name), got, want.SHA256)
		}
	}
	return s, nil
}

// makeSystem fills dir.
func (b *builder) makeSystem(ctx context.Context, dir, key string, set *pkgs.Set) error {
	s := &system{dir: dir, info: systemInfo{Key: key, Epoch: set.Epoch(), Files: map[string]fileInfo{}}}
	b.progress.Step("assembling the root", 0)
	kernel, err := set.Kernel()
	if err != nil {
		return err
	}
	s.info.KernelVersion = kernel.Version
	modules, err := kmod.Open(ctx, set, b.cache)
	if err != nil {
		return err
	}
	if _, err := modules.Find(b.opts.Modules); err != nil { // at once, for what follows takes a while
		return fmt.Errorf("--module: %w", err)
	}
	if err := b.makeRoot(ctx, s, set, modules); err != nil {
		return err
	}
	if s.info.Kubernetes, err = b.kubernetesVersion(); err != nil {
		return err
	}

	b.progress.Step("making the initramfs", 0)
	in := initramfs.Input{Board: b.board, Modules: modules, Init: filepath.Join(b.opts.Programs, "init"), Version: b.opts.Version}
	early, err := initramfs.Assemble(in)
	if err != nil {
		return err
	}
	if err := create(s.path(initrdFile), func(w io.Writer) error { return initramfs.Write(w, early) }); err != nil {
		return err
	}
	if err := b.copyBootFiles(s, set, kernel); err != nil {
		return err
	}
	if err := b.makeBIOS(ctx, s, set); err != nil {
		return err
	}
	if err := b.makeBusybox(s, set); err != nil {
		return err
	}
	for _, p := range set.Packages() {
		s.info.Packages = append(s.info.Packages, packageInfo{Name: p.Name, Version: p.Version, Arch: p.Arch, SHA256: p.SHA256})
	}
	slices.SortFunc(s.info.Packages, func(a, b packageInfo) int { return strings.Compare(a.Name, b.Name) })
	return s.seal()
}

// makeRoot writes the root's image with its verity tree, and its SBOM.
func (b *builder) makeRoot(ctx context.Context, s *system, set *pkgs.Set, modules *kmod.Tree) error {
	pause, err := os.ReadFile(filepath.Join(b.opts.Programs, "pause"))
	if errors.Is(err, fs.ErrNotExist) {
		return &rootfs.ProgramsError{Dir: b.opts.Programs, Missing: []string{"pause"}}
	}
	if err != nil {
		return err
	}
	temp := s.path("images") // gone when their bytes are in the root's image
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	images := map[string]string{"pause.tar": filepath.Join(temp, "pause.tar")}
	if err := create(images["pause.tar"], func(w io.Writer) error {
		return oci.WriteArchive(w, oci.Pause(pause, b.board.Arch), set.Epoch())
	}); err != nil {
		return err
	}
	inside := map[string]string{}
	if b.traefik {
		file, err := b.makeTraefik(temp, set)
		if err != nil {
			return err
		}
		images[config.TraefikImage] = file
		inside[path.Join(rootfs.ImagesDir, config.TraefikImage)] = filepath.Join(b.opts.Programs, traefikProgram)
	}
	root, err := rootfs.Assemble(ctx, rootfs.Input{
		Board: b.board, Packages: set, Modules: modules, Programs: b.opts.Programs, Version: b.opts.Version, Images: images,
		Wants: b.opts.Modules,
	})
	if err != nil {
		return err
	}
	laid, err := extra.Lay(root, b.added.layers)
	if err != nil {
		return err
	}
	sums, err := root.Sums()
	if err != nil {
		return err
	}
	if s.info.Added, err = b.describeAdded(laid, sums); err != nil {
		return err
	}
	image, err := rootfs.WriteImage(ctx, root, sums, rootfs.ImageOptions{
		Epoch: set.Epoch(), Tools: set.Tools(), CacheDir: b.cache,
		Log: func(line string) { b.progress.Step(line, 0) },
	})
	if err != nil {
		return err
	}
	s.info.RootFormat, s.info.RootSize = string(image.Type), image.Size

	b.progress.Step("hashing the root for verity", 0)
	if err := s.appendVerity(ctx, image, root.Digest(sums)); err != nil {
		return err
	}
	if room := b.board.PartitionSize("root-a"); s.info.Tree.Size > room {
		return fmt.Errorf("the root needs %d bytes, the partition root-a of board %s has %d: make it larger in boards/%s/board.yaml, or add less with --file, --overlay and --module", s.info.Tree.Size, b.board.Name, room, b.board.Name)
	}
	return create(s.path(sbomFile), func(w io.Writer) error {
		return b.writeSBOM(w, set, root, sums, inside)
	})
}

// appendVerity copies the filesystem to the system and appends the hash tree. Salt and
// UUID derive from what is in the root.
func (s *system) appendVerity(ctx context.Context, image rootfs.Image, digest [32]byte) error {
	return createFile(s.path(rootFile), func(f *os.File) error {
		in, err := os.Open(image.File)
		if err != nil {
			return err
		}
		defer in.Close()
		if _, err := io.Copy(f, in); err != nil {
			return err
		}
		salt := sha256.Sum256(append([]byte("keelson verity salt\x00"), digest[:]...))
		s.info.Tree, err = verity.Append(ctx, f, image.Size, salt, disk.UUID(digest, "verity"))
		return err
	})
}

// makeBusybox writes the archive of the builder's own test image.
func (b *builder) makeBusybox(s *system, set *pkgs.Set) error {
	busybox, err := set.File("busybox-static", "usr/bin/busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	return create(s.path(busyboxFile), func(w io.Writer) error {
		return oci.WriteArchive(w, oci.Busybox(program, b.board.Arch), set.Epoch())
	})
}

// seal syncs all files, notes their digests and writes infoFile.
func (s *system) seal() error {
	err := filepath.WalkDir(s.dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.dir, file)
		if err != nil {
			return err
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		s.info.Files[filepath.ToSlash(name)] = fileInfo{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}
		return nil
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(s.info, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path(infoFile), text, 0o644)
}

// writeSBOM writes the SPDX document of the root. inside is sbom.Input's.
func (b *builder) writeSBOM(w io.Writer, set *pkgs.Set, root *tree.Tree, sums map[string]tree.Sum, inside map[string]string) error {
	kernel, err := set.Kernel()
	if err != nil {
		return err
	}
	return sbom.Write(w, sbom.Input{
		Board: b.board.Name, Version: b.opts.Version, Root: root, Sums: sums,
		Packages: set.Packages(), Outside: b.outside(kernel), Inside: inside, Epoch: set.Epoch(),
	})
}

// outside names the packages that have files in the image beside its root.
func (b *builder) outside(kernel pkgs.Kernel) []string {
	out := slices.Clone(kernel.Names)
	if b.board.Boot == boards.BootSystemd {
		out = append(out, loaderPackage)
	}
	if b.board.BIOS != "" {
		out = append(out, biosPackage)
	}
	for _, f := range b.board.Files {
		out = append(out, f.Package)
	}
	for _, r := range b.board.Raw {
		out = append(out, r.Package)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// create writes a new file of the cache.
func create(name string, write func(io.Writer) error) error {
	return createFile(name, func(f *os.File) error { return write(f) })
}

func createFile(name string, write func(*os.File) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// keepSystems is how many systems the cache holds: a few boards and versions somebody works on.
const keepSystems = 4

// abandoned is the age at which an unfinished entry of the cache belongs to a build that was killed.
const abandoned = 24 * time.Hour

// prune removes the entries of dir that have not been used for the longest time, all but keep, and
// what killed builds left.
func prune(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	type used struct {
		name string
		at   time.Time
	}
	var list []used
	for _, e := range entries {
		fi, err := e.Info()
		switch {
		case err != nil: // another build has just removed it
		case !strings.HasPrefix(e.Name(), "."):
			list = append(list, used{e.Name(), fi.ModTime()})
		case time.Since(fi.ModTime()) > abandoned:
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(list, func(a, b used) int { return b.at.Compare(a.at) })
	for i, u := range list {
		if i >= keep {
			if err := os.RemoveAll(filepath.Join(dir, u.name)); err != nil {
				return err
			}
		}
	}
	return nil
}
