package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

const (
	namespace   = "k8s.io" // the CRI's
	snapshotter = "overlayfs"
	recordName  = "keelson-imported.json"
	pinned      = "io.cri-containerd.pinned"
)

// labels keep the kubelet from deleting an imported image when the disk gets full: it
// could not be pulled again.
var labels = map[string]string{
	"io.cri-containerd.image": "managed",
	pinned:                    "pinned",
}

// Options say what to import, and into what.
type Options struct {
	Socket string   // containerd's
	Root   string   // containerd's folder on the state partition, where the record is
	System string   // folder of the archives that come with the root filesystem
	Except []string // file names in System that this node has no use for
	User   string   // folder of the user's archives
	Log    *slog.Logger
	Status func(string) // is told what is done
}

// Import imports the archives that are not in the store yet. A failure with one of the
// system's is an error. A user's archive that cannot be imported is logged, and the node goes on.
func Import(ctx context.Context, o Options) (err error) {
	client, err := containerd.New(o.Socket, containerd.WithDefaultNamespace(namespace))
	if err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx = namespaces.WithNamespace(ctx, namespace)
	r := readRecord(filepath.Join(o.Root, recordName))
	r.forget()
	i := importer{client: client, record: r, log: o.Log, status: o.Status}
	fromSystem, err := list(o.System)
	if err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	for _, a := range fromSystem {
		if slices.Contains(o.Except, filepath.Base(a.path)) {
			continue
		}
		if err := i.one(ctx, a, true); err != nil {
			return fmt.Errorf("import images: %w", err)
		}
	}
	fromUser, err := list(o.User)
	if err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	for _, a := range fromUser {
		if err := i.one(ctx, a, false); err != nil {
			if ctx.Err() != nil {
				return err
			}
			o.Log.Error("image archive not imported", "file", a.path, "err", err)
		}
	}
	return nil
}

type importer struct {
	client *containerd.Client
	record *record
	log    *slog.Logger
	status func(string)
}

// one imports an archive, unless that was done before. The record is written after each,
// so that a power cut costs one import at most.
func (i importer) one(ctx context.Context, a file, system bool) error {
	e, known, err := i.record.known(a, !system)
	if err != nil {
		return err
	}
	if known && system {
		// Without the sandbox image no pod can start: look.
		for _, name := range e.Images {
			if _, err := i.client.GetImage(ctx, name); errdefs.IsNotFound(err) {
				known = false
			} else if err != nil {
				return err
			}
		}
	}
	if !known {
		i.status("importing " + a.path)
		began := time.Now()
		if e.Images, err = i.load(ctx, a.path); err != nil {
			return fmt.Errorf("%s: %w", a.path, err)
		}
		i.log.Info("images imported", "file", a.path, "images", e.Images, "took", time.Since(began).Round(time.Millisecond))
	}
	superseded := i.record.replace(a.path, e)
	if err := i.record.write(); err != nil {
		return err
	}
	i.unpin(ctx, superseded)
	return nil
}

// unpin lets the kubelet delete images whose archive has others now, when the disk gets full.
// Not at once: a pod of before an upgrade still starts from the old one.
func (i importer) unpin(ctx context.Context, names []string) {
	for _, name := range names {
		image := images.Image{Name: name, Labels: map[string]string{pinned: ""}}
		if _, err := i.client.ImageService().Update(ctx, image, "labels."+pinned); err != nil && !errdefs.IsNotFound(err) {
			i.log.Warn("superseded image stays pinned", "image", name, "err", err)
		}
	}
}

// load reads an archive into the store and unpacks its images.
func (i importer) load(ctx context.Context, path string) (names []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	plain, err := compression.DecompressStream(f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	found, err := i.client.Import(ctx, plain,
		containerd.WithImageLabels(labels),
		containerd.WithSkipMissing(),
	)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("no image in it that has a name")
	}
	for _, image := range found {
		if err := containerd.NewImage(i.client, image).Unpack(ctx, snapshotter); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", image.Name, err)
		}
		names = append(names, image.Name)
	}
	return names, nil
}
