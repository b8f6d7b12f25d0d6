package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/keelson-os/keelson/config"
)

// Ensure makes sure that dir/name.crt and dir/name.key hold a certificate for r by ca
// that is valid for RenewBefore at least, and issues a new one when not. reason says why
// it did; it is empty when the files were good. Files that are missing, damaged or do
// not belong together are replaced: nothing but the CA needs to be kept.
func Ensure(dir, name string, ca *CA, r Request, now time.Time) (reason string, err error) {
	reason, err = stale(dir, name, ca, r, now)
	if err != nil || reason == "" {
		return "", err
	}
	pair, err := ca.Issue(r, now)
	if err != nil {
		return "", err
	}
	if err := Save(dir, name, pair); err != nil {
		return "", err
	}
	return reason, nil
}

// stale says why the files cannot be used any longer; "" if they can.
func stale(dir, name string, ca *CA, r Request, now time.Time) (string, error) {
	pair, err := Load(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "missing", nil
	}
	if err != nil {
		return "", err
	}
	cert, err := parse(pair)
	if err != nil {
		return "damaged: " + err.Error(), nil
	}
	if err := cert.Leaf.CheckSignatureFrom(ca.cert); err != nil {
		return "signed by another CA", nil
	}
	if d := r.differs(cert.Leaf); d != "" {
		return d, nil
	}
	if now.Before(cert.Leaf.NotBefore) {
		return "not valid before " + cert.Leaf.NotBefore.Format(time.RFC3339), nil
	}
	// A certificate that ends with its CA cannot be made longer.
	if left := cert.Leaf.NotAfter.Sub(now); left < RenewBefore && cert.Leaf.NotAfter.Before(ca.cert.NotAfter) {
		return "ends " + cert.Leaf.NotAfter.Format(time.RFC3339), nil
	}
	return "", nil
}

// Load reads dir/name.crt and dir/name.key. A missing file is fs.ErrNotExist.
func Load(dir, name string) (config.KeyPair, error) {
	cert, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		return config.KeyPair{}, err
	}
	key, err := os.ReadFile(filepath.Join(dir, name+".key"))
	if err != nil {
		return config.KeyPair{}, err
	}
	return config.KeyPair{Cert: string(cert), Key: string(key)}, nil
}

// Save writes dir/name.key and dir/name.crt, both 0600, each in one step. After a power
// cut the two may not belong together; Ensure notices that.
func Save(dir, name string, pair config.KeyPair) error {
	if err := WriteFile(filepath.Join(dir, name+".key"), []byte(pair.Key), 0o600); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, name+".crt"), []byte(pair.Cert), 0o600)
}

// WriteFile writes path in one step, makes its folder (0700) if needed, and returns once
// the data is on the disk. A file that already holds data with this mode is left alone.
func WriteFile(path string, data []byte, mode fs.FileMode) (err error) {
	if same(path, data, mode) {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func same(path string, data []byte, mode fs.FileMode) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != mode || info.Size() != int64(len(data)) {
		return false
	}
	have, err := os.ReadFile(path)
	return err == nil && string(have) == string(data)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
