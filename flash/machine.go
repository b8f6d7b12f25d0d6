package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/flash/values"
	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/upgrade/fat"
)

// ErrNoConfig says that there is no machine configuration on the FAT partition.
var ErrNoConfig = errors.New("there is no " + config.FileName + " on the FAT partition")

// Boot is the FAT partition of a disk with Keelson on it.
type Boot struct {
	*fat.Volume
	// Booted says that a node has started from the disk: it takes the configuration off the
	// FAT partition then, and keeps it, with the secrets, on its state partition.
	Booted bool
}

// OpenBoot finds the FAT partition of a disk of size bytes by its partition table and
// opens it; to be changed, if disk is a fat.Disk.
func OpenBoot(disk io.ReaderAt, size int64) (*Boot, error) {
	t, err := parttable.Read(disk, size)
	if err != nil {
		return nil, fmt.Errorf("no disk of Keelson's: %w", err)
	}
	n, ok := t.Find("esp")
	state, ok2 := t.Find("state")
	if !ok || !ok2 {
		return nil, errors.New("no disk of Keelson's: it lacks the partition esp or state")
	}
	off, length := t.Extent(n)
	var part io.ReaderAt = io.NewSectionReader(disk, off, length)
	if d, ok := disk.(fat.Disk); ok {
		part = newSection(d, off, length)
	}
	v, err := fat.Open(part, length)
	if err != nil {
		return nil, err
	}
	return &Boot{v, t.Life(state) == parttable.Formatted}, nil
}

// section is a part of a disk that can be written.
type section struct {
	*io.SectionReader
	d   fat.Disk
	off int64
}

func newSection(d fat.Disk, off, size int64) *section {
	return &section{io.NewSectionReader(d, off, size), d, off}
}

func (s *section) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > s.Size()-off {
		return 0, fmt.Errorf("write %d bytes at %d: the partition has %d", len(p), off, s.Size())
	}
	return s.d.WriteAt(p, s.off+off)
}

func (s *section) Sync() error { return s.d.Sync() }

// ReadConfig returns the machine configuration. ErrNoConfig when there is none, also when
// the node has taken it and only zeros are left of it.
func (b *Boot) ReadConfig() ([]byte, error) { return b.file(config.FileName) }

func (b *Boot) file(name string) ([]byte, error) {
	data, err := b.ReadFile(name)
	if err == nil && len(data) > 0 && len(bytes.Trim(data, "\x00")) == 0 {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist} // erased by a first boot that was cut short
	}
	if errors.Is(err, fs.ErrNotExist) && name == config.FileName {
		return nil, ErrNoConfig
	}
	return data, err
}

// Change is what a user wants of the machine configuration.
type Change struct {
	File     string   // a configuration to put in place of the old one
	Secrets  string   // a secrets file to put beside it
	Hostname string   // "" leaves it
	Set      []string // KEY=VALUE
	Unset    []string // KEY
}

// Empty reports whether nothing is to be changed.
func (c *Change) Empty() bool {
	return c.File == "" && c.Secrets == "" && c.Hostname == "" && len(c.Set) == 0 && len(c.Unset) == 0
}

// Apply returns the files that the change makes, by name, checked as the node will check
// them. Nothing is written. Mistakes in the configuration are a *config.Errors, with the
// text of "keelson config validate".
func (b *Boot) Apply(c Change) (map[string][]byte, error) {
	files := map[string][]byte{}
	if c.Secrets != "" {
		data, err := readSmall(c.Secrets)
		if err != nil {
			return nil, err
		}
		files[config.SecretsName] = data
	}
	var data []byte
	var err error
	if c.File != "" {
		if data, err = b.load(c.File, files); err != nil {
			return nil, err
		}
	} else if data, err = b.ReadConfig(); err != nil {
		return nil, err
	}
	if data, err = c.edit(data); err != nil {
		return nil, err
	}
	files[config.FileName] = data
	return files, b.check(config.FileName, files, "")
}

// edit makes the single changes in a file's text.
func (c *Change) edit(data []byte) ([]byte, error) {
	for _, u := range c.Unset {
		p, err := values.ParsePath(u)
		if err == nil {
			data, err = values.Unset(data, p)
		}
		if err != nil {
			return nil, fmt.Errorf("--unset %s: %w", u, err)
		}
	}
	for _, s := range c.Set {
		p, value, err := values.ParseAssignment(s)
		if err == nil {
			data, err = values.Set(data, p, value)
		}
		if err != nil {
			// The value may be a password.
			return nil, fmt.Errorf("--set: %w", err)
		}
	}
	if c.Hostname != "" {
		p, err := values.ParsePath("hostname")
		if err == nil {
			data, err = values.SetString(data, p, c.Hostname)
		}
		if err != nil {
			return nil, fmt.Errorf("--hostname: %w", err)
		}
	}
	return data, nil
}

// load reads a configuration of the user's, and the secrets beside it if they are there
// and no others were given.
func (b *Boot) load(path string, files map[string][]byte) ([]byte, error) {
	if _, given := files[config.SecretsName]; !given {
		data, secrets, err := config.Files(path)
		if err == nil {
			if secrets != nil {
				files[config.SecretsName] = secrets
			}
			return data, nil
		}
		var mistakes *config.Errors
		if !errors.As(err, &mistakes) {
			return nil, err
		}
		// Perhaps only the secrets are not here: they may be where the file is to go.
	}
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	return data, b.check(filepath.Base(path), map[string][]byte{config.FileName: data, config.SecretsName: files[config.SecretsName]}, filepath.Dir(path))
}

// Check checks a configuration as the node will, with the secrets of the FAT partition.
func (b *Boot) Check(data []byte) error {
	return b.check(config.FileName, map[string][]byte{config.FileName: data}, "")
}

// check parses a configuration; what it refers to is taken from files, from the folder
// beside, if it is not "", or from the FAT partition.
func (b *Boot) check(name string, files map[string][]byte, beside string) error {
	missing := false
	_, err := config.Parse(name, files[config.FileName], func(ref string) ([]byte, error) {
		if data := files[ref]; data != nil && ref != config.FileName {
			return data, nil
		}
		if beside != "" {
			if data, err := readSmall(filepath.Join(beside, filepath.FromSlash(ref))); err == nil {
				return data, nil
			}
		}
		data, err := b.file(ref)
		missing = errors.Is(err, fs.ErrNotExist)
		return data, err
	})
	var mistakes *config.Errors
	if missing && b.Booted && errors.As(err, &mistakes) && len(mistakes.List) == 1 && mistakes.List[0].Path == "secrets" {
		return nil // the node kept its secrets
	}
	return err
}

// readSmall reads a file of a size that the FAT partition's files may have.
func readSmall(path string) (_ []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, fat.MaxFile+1))
	if err == nil && len(data) > fat.MaxFile {
		err = fmt.Errorf("%s has more than %d bytes: is it the right file?", path, fat.MaxFile)
	}
	return data, err
}

// NodeFiles returns the files that make an image this node's: those of Apply. An image
// without a configuration has none to change.
func (i *Image) NodeFiles(ctx context.Context, c Change) (map[string][]byte, error) {
	if c.Empty() {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v, close, err := i.Boot()
	if err != nil {
		return nil, err
	}
	b := &Boot{Volume: v}
	files, err := b.Apply(c)
	if errors.Is(err, ErrNoConfig) {
		err = fmt.Errorf("%s: %w to change: build the image with --config server.yaml", i.Path, err)
	}
	return files, errors.Join(err, close.Close())
}
