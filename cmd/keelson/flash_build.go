//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/keelson-os/keelson/imagebuilder"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
)

// imageBuild is the building of an image on the way, by the flags of "keelson build".
type imageBuild struct{ o imagebuilder.Options }

func (b *imageBuild) flags(f *pflag.FlagSet) {
	buildFlags(f, &b.o)
	f.Lookup("board").Usage = "build an image for this kind of machine on the way; \"keelson boards\" lists them"
	f.Lookup("out").Usage = "keep the image that was built, in this file"
	for _, name := range []string{"format", "compress", "update-lock"} { // a disk takes one form
		if flag := f.Lookup(name); flag != nil {
			flag.Hidden = true
		}
	}
}

func (b *imageBuild) wanted() bool { return b.o.Board != "" }

// run builds the image. It returns its path, and what removes it unless it is to be kept.
func (b *imageBuild) run(ctx context.Context, stderr io.Writer) (image string, remove func() error, err error) {
	o := b.o
	if o.Compress != "" || o.UpdateLock || o.Format != "" && o.Format != "raw" {
		return "", nil, errors.New("--format, --compress and --update-lock belong to \"keelson build\": a disk gets the raw image")
	}
	o.Format = "raw" // whatever --out ends in
	remove = func() error { return nil }
	if o.Out == "" {
		// In the user's own cache rather than in /tmp, which may be in memory.
		parent, err := pkgs.DefaultCacheDir()
		if err != nil {
			return "", nil, err
		}
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return "", nil, err
		}
		dir, err := os.MkdirTemp(parent, "flash-")
		if err != nil {
			return "", nil, err
		}
		remove = func() error { return os.RemoveAll(dir) }
		o.Out = filepath.Join(dir, "keelson-"+o.Board+".img")
	}
	time, err := completeBuild(&o)
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	p := newProgress(stderr)
	o.Progress = p
	time.tell(p)
	r, err := imagebuilder.Build(ctx, o)
	p.end(err == nil)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("build the image: %w", explainFile(err, o.ConfigPath)), remove())
	}
	return r.Image, remove, nil
}
