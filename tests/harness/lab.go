package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/keelson-os/keelson/tests/kubeapi"
)

// Busybox is the builder's own test image: busybox and its applets, nothing else.
const Busybox = "keelson.dev/busybox:1"

// Lab is a fresh cluster's configuration and an image of its server.
type Lab struct {
	Dir     string // holds all of it
	Keelson string // bin/keelson
	Cluster string // directory made by "keelson config new"
	Image   string // raw disk image
	Info    Manifest
}

// Manifest is what is read of the description that the builder writes beside an image.
type Manifest struct {
	Board    string `json:"board"`
	Version  string `json:"version"`
	Arch     string `json:"arch"`
	Cmdline  string `json:"cmdline"`
	RootHash string `json:"rootHash"`
	DiskSize int64  `json:"diskSize"` // bytes
	Root     struct {
		Format     string `json:"format"`
		Filesystem int64  `json:"filesystemBytes"`
		WithVerity int64  `json:"bytes"`
	} `json:"root"`
	Compressed *struct {
		Size int64 `json:"size"`
	} `json:"compressed"`
	Parts      []Part      `json:"parts"`
	Partitions []Partition `json:"partitions"`
}

// Part is one thing in an image.
type Part struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Partition is a byte range of the disk.
type Partition struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"` // bytes
	Size   int64  `json:"size"`
}

// Partition finds a partition by its GPT name.
func (m *Manifest) Partition(name string) (Partition, error) {
	for _, p := range m.Partitions {
		if p.Name == name {
			return p, nil
		}
	}
	return Partition{}, fmt.Errorf("the image has no partition %q", name)
}

// Root finds the repository's folder from the working directory up.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module github.com/keelson-os/keelson\n")) {
			return dir, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("not inside Keelson's repository")
		}
		dir = up
	}
}

// WithoutTraefik is an edit for NewLab: an image without Traefik's 38 MB, whose unpacking a first
// boot waits for.
func WithoutTraefik(serverYAML string) string {
	return strings.Replace(serverYAML, "  # disable: [traefik] ", "  disable: [traefik] ", 1)
}

// NewLab makes a cluster in dir/lab and builds its image, for a PC, with these further arguments
// of "keelson build"; "--board" among them makes it another board's. edit, when not nil, changes server.yaml before that.
func NewLab(ctx context.Context, dir string, edit func(serverYAML string) string, buildArgs ...string) (*Lab, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, Keelson: filepath.Join(root, "bin", "keelson"), Cluster: filepath.Join(dir, "lab"), Image: filepath.Join(dir, "lab.img")}
	if _, err := os.Stat(l.Keelson); err != nil {
		return nil, fmt.Errorf("%w: \"make build\" makes it", err)
	}
	if _, err := l.Run(ctx, "config", "new", l.Cluster); err != nil {
		return nil, err
	}
	server := filepath.Join(l.Cluster, "server.yaml")
	if edit != nil {
		text, err := os.ReadFile(server)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(server, []byte(edit(string(text))), 0o600); err != nil {
			return nil, err
		}
	}
	if err := l.Build(ctx, buildArgs...); err != nil {
		return nil, err
	}
	return l, nil
}

// Build builds the lab's image (again), for a PC unless "--board" is among the arguments.
func (l *Lab) Build(ctx context.Context, args ...string) error {
	args = append([]string{"build", "--board", "pc", "--allow-moved-packages", "--config", filepath.Join(l.Cluster, "server.yaml"), "--out", l.Image}, args...)
	if _, err := l.Run(ctx, args...); err != nil {
		return err
	}
	data, err := os.ReadFile(strings.TrimSuffix(l.Image, ".img") + ".manifest.json")
	if err != nil {
		return err
	}
	l.Info = Manifest{}
	return json.Unmarshal(data, &l.Info)
}

// Run runs bin/keelson and returns what it printed on stdout; its errors have stderr.
func (l *Lab) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.Keelson, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("keelson %s: %w: %s", strings.Join(args, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Kubeconfig writes a copy of the lab's kubeconfig for a port of 127.0.0.1 into dir.
func (l *Lab) Kubeconfig(dir string, port int) (string, error) {
	data, err := os.ReadFile(filepath.Join(l.Cluster, "kubeconfig"))
	if err != nil {
		return "", err
	}
	text, err := kubeapi.WithServer(data, fmt.Sprintf("https://127.0.0.1:%d", port))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kubeconfig")
	return path, os.WriteFile(path, text, 0o600)
}
