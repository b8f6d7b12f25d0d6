package rootfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// triplets name the folder of an architecture's libraries.
var triplets = map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

// debian copies files of Debian packages into a tree, with the libraries they need.
type debian struct {
	set     *pkgs.Set
	tree    *tree.Tree
	triplet string
}

// addAll adds debianFiles.
func (d *debian) addAll() error {
	for _, l := range debianFiles {
		p, err := d.set.Package(l.pkg)
		if err != nil {
			return err
		}
		for _, f := range l.files {
			if err := d.add(p, f); err != nil {
				return fmt.Errorf("package %s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// add adds p's file at name, what a link there points to, and the libraries an ELF file needs.
func (d *debian) add(p pkgs.Package, name string) error {
	if _, ok := d.tree.Get(name); ok {
		return nil
	}
	file := filepath.Join(p.Dir, filepath.FromSlash(name))
	fi, err := os.Lstat(file)
	if err != nil {
		return err
	}
	origin := tree.Origin{Kind: tree.Debian, Name: p.Name}
	if fi.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		if err := d.tree.AddLink(name, target, origin); err != nil {
			return err
		}
		if path.IsAbs(target) {
			return d.add(p, strings.TrimPrefix(path.Clean(target), "/"))
		}
		return d.add(p, path.Join(path.Dir(name), target))
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: not a file or a link", name)
	}
	// Setuid bits are dropped on the way (pkgs keeps none): everything in the root that runs them is root.
	if err := d.tree.AddFile(name, fi.Mode().Perm(), file, origin); err != nil {
		return err
	}
	return d.addLibraries(name, file)
}

// addLibraries adds the dynamic loader and the libraries that file asks for, if it is an ELF file.
func (d *debian) addLibraries(name, file string) error {
	f, err := elf.Open(file)
	var format *elf.FormatError
	if errors.As(err, &format) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 256 {
			continue
		}
		loader := make([]byte, p.Filesz)
		if _, err := p.ReadAt(loader, 0); err != nil {
			return fmt.Errorf("%s: read the loader's name: %w", name, err)
		}
		// "/lib64/ld-…" is usr/lib64/ld-… in the package.
		if err := d.addFrom("usr" + string(bytes.TrimRight(loader, "\x00"))); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, so := range needed {
		if err := d.addFrom(path.Join("usr/lib", d.triplet, so)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// addFrom adds the file at name of whichever package has it.
func (d *debian) addFrom(name string) error {
	for _, p := range d.set.Packages() {
		if _, err := os.Lstat(filepath.Join(p.Dir, filepath.FromSlash(name))); err == nil {
			return d.add(p, name)
		}
	}
	return fmt.Errorf("%s is needed and in no package of the lock", name)
}

// addCertificates adds all certificate authorities as one PEM file, where Go and OpenSSL look for it.
func (d *debian) addCertificates() error {
	all, err := Authorities(d.set)
	if err != nil {
		return err
	}
	return d.tree.AddData("etc/ssl/certs/ca-certificates.crt", 0o644, all, tree.Origin{Kind: tree.Debian, Name: certificates})
}

// Authorities returns all certificate authorities of Debian's package as one PEM file.
func Authorities(set *pkgs.Set) ([]byte, error) {
	p, err := set.Package(certificates)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(p.Dir, filepath.FromSlash(certificatesDir), "*.crt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("package %s: no certificate in %s", p.Name, certificatesDir)
	}
	var all bytes.Buffer
	for _, f := range files { // Glob sorts
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all.Write(bytes.TrimRight(text, "\n"))
		all.WriteByte('\n')
	}
	return all.Bytes(), nil
}

// addFirmware adds the files below usr/lib/firmware that patterns name, of whichever package has them,
// and what links among them point to.
func (d *debian) addFirmware(patterns []string) error {
	const dir = "usr/lib/firmware"
	for _, pattern := range patterns {
		found := false
		for _, p := range d.set.Packages() {
			base := filepath.Join(p.Dir, filepath.FromSlash(dir))
			files, err := filepath.Glob(filepath.Join(base, filepath.FromSlash(pattern)))
			if err != nil {
				return err
			}
			for _, f := range files {
				if fi, err := os.Lstat(f); err != nil || fi.IsDir() {
					continue
				}
				rel, err := filepath.Rel(base, f)
				if err != nil {
					return err
				}
				found = true
				if err := d.add(p, path.Join(dir, filepath.ToSlash(rel))); err != nil {
					return fmt.Errorf("firmware of package %s: %w", p.Name, err)
				}
			}
		}
		if !found {
			return fmt.Errorf("firmware pattern %q matches nothing in the packages of the lock", pattern)
		}
	}
	return nil
}
