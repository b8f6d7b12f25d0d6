// Package provision takes the machine configuration and the seeds from the FAT partition,
// where a laptop can put them, to the state partition, where the node finds them.
//
// It runs at every boot, so a new keelson.yaml on the FAT partition replaces the old one.
// A configuration is checked before anything is moved: one with mistakes stays where it
// is, and the node goes on with the old one. A power cut at any point leaves the old or
// the new configuration in force, and the files that were not moved yet are moved at the
// next boot.
package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/durable"
)

// Places are the folders involved; System is what a node uses.
type Places struct {
	From      string // the FAT partition's root
	Config    string // becomes config.Dir
	Images    string
	Manifests string
}

// System returns a node's places with the FAT partition mounted on from.
func System(from string) Places {
	return Places{From: from, Config: config.Dir, Images: config.AgentImages, Manifests: config.ServerManifests}
}

// Moved is what was copied, relative to From, and has to be removed there.
type Moved struct {
	Files []string
	// Config says that a new configuration was among them.
	Config bool
	// Refused is why the configuration on the FAT partition was not taken; the text is
	// that of "keelson config validate".
	Refused error
}

// Copy copies what is new to its place. It changes nothing in From. What was copied is in
// Moved even with an error.
func (p Places) Copy() (Moved, error) {
	var m Moved
	var errs []error
	files, err := p.copyConfig()
	var mistakes *config.Errors
	switch {
	case errors.As(err, &mistakes):
		m.Refused = mistakes
	case errors.Is(err, errErased):
		m.Files = []string{config.FileName}
	case err != nil:
		errs = append(errs, fmt.Errorf("take the configuration from the FAT partition: %w", err))
	}
	m.Files, m.Config = append(m.Files, files...), len(files) > 0
	for _, s := range []struct{ from, to string }{{config.SeedImages, p.Images}, {config.SeedManifests, p.Manifests}} {
		files, err := p.copySeeds(s.from, s.to)
		m.Files = append(m.Files, files...)
		errs = append(errs, err)
	}
	return m, errors.Join(errs...)
}

// copyConfig puts keelson.yaml, and the secrets it refers to, into Config: it makes a new
// folder beside it and swaps the two at once. The secrets may be left out on the FAT
// partition: then those of the old configuration stay.
func (p Places) copyConfig() (files []string, err error) {
	data, err := readSmall(filepath.Join(p.From, config.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if erased(data) {
		return nil, errErased
	}
	referred := map[string][]byte{}
	files = []string{config.FileName}
	resolve := func(ref string) ([]byte, error) {
		if !filepath.IsLocal(ref) {
			return nil, &fs.PathError{Op: "open", Path: ref, Err: errors.New("is outside of the FAT partition")}
		}
		b, err := readSmall(filepath.Join(p.From, ref))
		if err == nil {
			files = append(files, ref)
		}
		if errors.Is(err, fs.ErrNotExist) || err == nil && erased(b) {
			b, err = readSmall(filepath.Join(p.Config, ref))
		}
		if err == nil {
			referred[ref] = b
		}
		return b, err
	}
	if _, err := config.Parse(config.FileName, data, resolve); err != nil {
		return nil, err
	}
	referred[config.FileName] = data
	if err := p.swap(referred); err != nil {
		return nil, err
	}
	return files, nil
}

// swap makes Config a folder with exactly these files.
func (p Places) swap(files map[string][]byte) error {
	staged := p.Config + ".new"
	if err := os.RemoveAll(staged); err != nil {
		return err
	}
	if err := os.MkdirAll(staged, 0o700); err != nil {
		return err
	}
	for name, b := range files {
		path := filepath.Join(staged, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := durable.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, p.Config, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, p.Config, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: staged, New: p.Config, Err: err}
	}
	if err := durable.SyncDir(filepath.Dir(p.Config)); err != nil {
		return err
	}
	return os.RemoveAll(staged)
}

// copySeeds copies every plain file of a seed folder; hidden ones, which other systems
// leave on FAT partitions, are not seeds.
func (p Places) copySeeds(from, to string) (files []string, err error) {
	entries, err := os.ReadDir(filepath.Join(p.From, from))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if from != config.SeedImages {
			if b, err := readSmall(filepath.Join(p.From, from, e.Name())); err == nil && erased(b) {
				files = append(files, filepath.Join(from, e.Name()))
				continue
			}
		}
		if err := copyFile(filepath.Join(p.From, from, e.Name()), to, e.Name()); err != nil {
			errs = append(errs, fmt.Errorf("take %s/%s from the FAT partition: %w", from, e.Name(), err))
			continue
		}
		files = append(files, filepath.Join(from, e.Name()))
	}
	return files, errors.Join(errs...)
}

// spare is how much of the state partition seeds must leave free, in bytes.
const spare = 64 << 20

// copyFile copies a file into a folder under a name that nobody looks for, and renames it
// when it is whole and on the disk.
func copyFile(from, dir, name string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if free := int64(st.Bavail) * st.Bsize; free < info.Size()+spare {
		return fmt.Errorf("needs %d MB, the state partition has %d MB free", info.Size()>>20, free>>20)
	}
	tmp := filepath.Join(dir, "."+name+".new")
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// Remove takes the moved files off From, which must be writable now. The texts are
// overwritten first, as they hold keys and FAT does not erase what it removes; a flash
// disk may keep old blocks all the same.
//
// keelson.yaml, without which nobody looks at the secrets, goes last, and only when the
// others are gone: after an error or a power cut in between the next boot removes the rest.
func (p Places) Remove(m Moved) error {
	var errs []error
	for _, name := range slices.Backward(m.Files) {
		if name == config.FileName && errors.Join(errs...) != nil {
			continue
		}
		path := filepath.Join(p.From, name)
		if filepath.Dir(name) != config.SeedImages {
			errs = append(errs, durable.Overwrite(path, maxConfig))
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, durable.SyncDir(p.From))...)
}

// errErased says that keelson.yaml is one that Remove had overwritten when the power went.
var errErased = errors.New("erased")

// erased reports whether a text is what Remove leaves when it is cut short between
// overwriting and removing: nothing but zero bytes. Such a file was taken and is only to
// be removed.
func erased(b []byte) bool {
	return len(b) > 0 && len(bytes.Trim(b, "\x00")) == 0
}

// maxConfig bounds what is read of a configuration file, in bytes.
const maxConfig = 4 << 20

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}
