package imagebuilder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/keelson-os/keelson/imagebuilder/vmimage"
)

// manifest describes an image in a file beside it. It depends on the image's content alone.
type manifest struct {
	Image         string         `json:"image"` // file name
	Format        vmimage.Format `json:"format"`
	Board         string         `json:"board"`
	Arch          string         `json:"arch"`
	Version       string         `json:"version"`
	Serial        int64          `json:"serial"`
	MinimumSerial int64          `json:"minimumSerial"`
	Kubernetes    string         `json:"kubernetes"`
	Keys          []string       `json:"keys"` // minisign public keys whose bundles are taken
	Kernel        string         `json:"kernel"`
	Cmdline       string         `json:"cmdline"`
	Kargs         []string       `json:"kargs"`   // of --karg
	Modules       []addedModule  `json:"modules"` // of --module, and of the board's modules.load
	Files         []addedFile    `json:"files"`   // of --file, --overlay and the board
	RootHash      string         `json:"rootHash"`
	DiskSize      int64          `json:"diskSize"`
	File          *fileInfo      `json:"compressed,omitempty"` // of the .zst
	Root          rootManifest   `json:"root"`
	Parts         []part         `json:"parts"`
	Config        bool           `json:"config"` // a configuration is embedded; nothing of it is said here
	Images        []imageInfo    `json:"images"`
	Applied       []part         `json:"manifests"`
	Packages      []packageInfo  `json:"packages"`
	Layout        []partition    `json:"partitions"`
}

type rootManifest struct {
	Format     string `json:"format"`
	Filesystem int64  `json:"filesystemBytes"`
	WithVerity int64  `json:"bytes"`
}

// part is one thing in the image.
type part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	At     int64  `json:"at,omitempty"` // byte offset on the disk, of what no partition holds
}

type partition struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
}

type imageInfo struct {
	File   string   `json:"file"`
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
	Refs   []string `json:"refs"`
}

// text returns the manifest as JSON.
func (m *manifest) text() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
