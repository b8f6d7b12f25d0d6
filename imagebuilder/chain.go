package imagebuilder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/fat"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
)

// rawInfo is a file of a system that has a place on the disk outside of every partition.
type rawInfo struct {
	Name string // "PACKAGE:FILE"
	At   int64  // byte offset
}

// Folders of a system with what the boot chain takes from packages as it is.
const (
	fatFolder  = "fat" // files of the FAT partition, at their paths
	treeFolder = "dtb" // device trees, as the kernel package has them: VENDOR/NAME.dtb
)

// Files of a system for a BIOS, written by makeBIOS: GRUB's core image for the partition bios, and the boot
// code for the disk's first 440 bytes.
const (
	biosCoreFile = "bios-core.img"
	biosBootFile = "bios-boot.img"
)

// rawFile is the file of the board's raw number i.
func rawFile(i int) string { return fmt.Sprintf("raw-%d", i) }

// bootFiles makes what the board's boot chain reads: the slot's files and those that all slots share.
func (b *builder) bootFiles(img *image) error {
	for _, name := range slices.Sorted(maps.Keys(b.board.BootFiles)) {
		img.esp = append(img.esp, dataFile(name, b.board.BootFiles[name]))
	}
	img.esp = append(img.esp, img.sys.folder(fatFolder, func(name string) string { return name })...)
	switch b.board.Boot {
	case boards.BootUBoot:
		return b.ubootFiles(img)
	case boards.BootPi:
		return b.piFiles(img)
	}
	return b.efiFiles(img)
}

// slotFolder is the folder of slot a's files; the other slot's is the node's to write.
const slotFolder = "slot-a/"

// kernelFiles returns the kernel and the initramfs in the slot's folder.
func (s *system) kernelFiles() []fat.File {
	return []fat.File{
		s.file(slotFolder+"linux", kernelFile),
		s.file(slotFolder+"initrd.img", initrdFile),
	}
}

// folder returns the files of a folder of the system, by name; to says where each goes, by its path below the folder.
func (s *system) folder(folder string, to func(name string) string) []fat.File {
	var out []fat.File
	for _, file := range slices.Sorted(maps.Keys(s.info.Files)) {
		if name, ok := strings.CutPrefix(file, folder+"/"); ok {
			out = append(out, s.file(to(name), file))
		}
	}
	return out
}

// file returns a file of the FAT partition with the content of a file of the system.
func (s *system) file(to, file string) fat.File {
	return openFile(to, s.path(file), s.info.Files[file].Size)
}

// part describes a file of the system for the manifest.
func (s *system) part(name, file string) part {
	return part{Name: name, Size: s.info.Files[file].Size, SHA256: s.info.Files[file].SHA256}
}

// note adds something that the boot chain made to the manifest's parts.
func (img *image) note(name string, data []byte) {
	img.parts = append(img.parts, part{Name: name, Size: int64(len(data)), SHA256: sha256Hex(data)})
}

// copyBootFiles copies what the boot chain takes from packages to the system.
func (b *builder) copyBootFiles(s *system, set *pkgs.Set, kernel pkgs.Kernel) error {
	if err := copyTo(kernel.Image, s.path(kernelFile)); err != nil {
		return err
	}
	for _, f := range b.board.Files {
		if err := copyPackageFiles(s, set, f); err != nil {
			return fmt.Errorf("board %s: files: %w", b.board.Name, err)
		}
	}
	for i, r := range b.board.Raw {
		file, err := set.File(r.Package, r.From)
		if err != nil {
			return fmt.Errorf("board %s: raw: %w", b.board.Name, err)
		}
		if err := copyTo(file, s.path(rawFile(i))); err != nil {
			return err
		}
		s.info.Raw = append(s.info.Raw, rawInfo{Name: r.Package + ":" + path.Base(r.From), At: int64(r.At)})
	}
	trees := kernel.DeviceTrees
	for _, pattern := range b.board.DeviceTrees {
		files, err := filepath.Glob(filepath.Join(trees, filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("board %s: device_trees: %q matches nothing in %s %s", b.board.Name, pattern, kernel.Package.Name, kernel.Package.Version)
		}
		for _, f := range files {
			name, err := filepath.Rel(trees, f)
			if err != nil {
				return err
			}
			if err := copyTo(f, s.path(path.Join(treeFolder, filepath.ToSlash(name)))); err != nil {
				return err
			}
		}
	}
	if b.board.Boot == boards.BootSystemd {
		return b.copyEFI(s, set)
	}
	return nil
}

// copyPackageFiles copies the files of one entry of the board's files.
func copyPackageFiles(s *system, set *pkgs.Set, f boards.PackageFile) error {
	p, err := set.Package(f.Package)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(p.Dir, filepath.FromSlash(f.From)))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s matches nothing in package %s %s", f.From, p.Name, p.Version)
	}
	if len(files) > 1 && !strings.HasSuffix(f.To, "/") {
		return fmt.Errorf("%s of package %s matches %d files, but %q is no folder: put a / at its end", f.From, p.Name, len(files), f.To)
	}
	for _, file := range files {
		to := f.To
		if strings.HasSuffix(to, "/") {
			to = path.Join(to, filepath.Base(file))
		}
		if err := copyTo(file, s.path(path.Join(fatFolder, to))); err != nil {
			return err
		}
	}
	return nil
}

// copyTo copies a file into the system and makes the folders it needs.
func copyTo(from, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is there twice", filepath.Base(to)))
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return create(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}
