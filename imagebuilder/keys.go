package imagebuilder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

// trustedKeys reads the keys that a system takes its next bundle from: those of Options.TrustKeys, then those that lie beside the
// configuration. None is possible: such a system refuses every bundle.
func (b *builder) trustedKeys() ([]bundle.PublicKey, error) {
	var keys []bundle.PublicKey
	add := func(file string) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		key, err := bundle.ParsePublicKey(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if !slices.ContainsFunc(keys, func(k bundle.PublicKey) bool { return k.String() == key.String() }) {
			keys = append(keys, key)
		}
		return nil
	}
	for _, file := range b.opts.TrustKeys {
		if err := add(file); err != nil {
			return nil, fmt.Errorf("--trust: %w", err)
		}
	}
	if b.opts.ConfigPath == "" {
		return keys, nil
	}
	for _, name := range []string{config.ReleasePublic, config.NextReleasePublic} {
		err := add(filepath.Join(filepath.Dir(b.opts.ConfigPath), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("release key beside the configuration: %w", err)
		}
	}
	return keys, nil
}

// noteKeys tells the user whose bundles the system will take.
func (b *builder) noteKeys() {
	if len(b.keys) == 0 {
		b.progress.Note("no release key given: the node will refuse every upgrade; name keys with --trust, or make a cluster with \"keelson config new\", which makes them")
		return
	}
	var ids []string
	for _, k := range b.keys {
		ids = append(ids, k.KeyID())
	}
	b.progress.Note("upgrades are taken from the key " + strings.Join(ids, " and "))
}
