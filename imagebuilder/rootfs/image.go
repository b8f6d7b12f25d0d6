package rootfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// Format is a filesystem that a root can be written as.
type Format string

// The formats. Default is the one images use.
const (
	Squashfs Format = "squashfs"
	EROFS    Format = "erofs"
	Default         = Squashfs
)

// writerVersion is part of the cache key: it changes when the arguments of the writers below do.
const writerVersion = "2"

// squashBlock is how much of a file squashfs compresses as one, bytes.
const squashBlock = 256 << 10

// ImageOptions say how WriteImage writes.
type ImageOptions struct {
	Format Format    // empty: Default
	Epoch  time.Time // of every file and of the image, whole seconds
	Tools  *pkgs.Tools
	// CacheDir, if not empty, keeps images by what they are made of.
	CacheDir string
	// Log is called with one line when an image must be made; nil: silent.
	Log func(line string)

	threads int // that compress; 0: one per core. Tests set it: the bytes must not depend on it.
}

// Image is a written filesystem.
type Image struct {
	File string // its length is a multiple of 4096 bytes
	Size int64  // bytes
	Type Format
}

// WriteImage writes t, whose sums are sums (tree.Sums), as a filesystem image. With a cache the
// image is a file of the cache, to be read and left alone; else it is a new file that belongs to the caller,
// in the folder for temporary files. The same tree, options and tools give the same bytes.
func WriteImage(ctx context.Context, t *tree.Tree, sums map[string]tree.Sum, o ImageOptions) (Image, error) {
	if o.Format == "" {
		o.Format = Default
	}
	if o.CacheDir == "" {
		f, err := os.CreateTemp("", "keelson-root-")
		if err != nil {
			return Image{}, err
		}
		if err := f.Close(); err != nil {
			return Image{}, err
		}
		if err := write(ctx, t, sums, o, f.Name()); err != nil {
			return Image{}, errors.Join(err, os.Remove(f.Name()))
		}
		return image(f.Name(), o.Format)
	}
	digest := t.Digest(sums)
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d\x00%x", writerVersion, o.Format, o.Tools.ID(), o.Epoch.Unix(), digest))
	dir := filepath.Join(o.CacheDir, "root")
	file := filepath.Join(dir, hex.EncodeToString(key[:16])+"."+string(o.Format))
	if img, err := image(file, o.Format); err == nil {
		now := time.Now() // marks the image as used, for prune; no part of any artefact
		return img, os.Chtimes(file, now, now)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Image{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Image{}, err
	}
	if o.Log != nil {
		o.Log(fmt.Sprintf("compressing the root (%s)", o.Format))
	}
	tmp, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return Image{}, err
	}
	if err := tmp.Close(); err != nil {
		return Image{}, err
	}
	if err := write(ctx, t, sums, o, tmp.Name()); err != nil {
		return Image{}, errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return Image{}, err
	}
	if err := prune(dir); err != nil {
		return Image{}, err
	}
	return image(file, o.Format)
}

func image(file string, format Format) (Image, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return Image{}, err
	}
	return Image{File: file, Size: fi.Size(), Type: format}, nil
}

// keep is how many root images the cache holds: one for each board and version somebody works on.
const keep = 6

// prune removes the images that have not been used for the longest time.
func prune(dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		var oldest string
		var at time.Time
		n := 0
		for _, e := range entries {
			fi, err := e.Info()
			if err != nil || strings.HasPrefix(e.Name(), ".new-") {
				continue
			}
			n++
			if oldest == "" || fi.ModTime().Before(at) {
				oldest, at = e.Name(), fi.ModTime()
			}
		}
		if n <= keep {
			return nil
		}
		if err := os.Remove(filepath.Join(dir, oldest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// write writes the image to out, which exists and is empty.
func write(ctx context.Context, t *tree.Tree, sums map[string]tree.Sum, o ImageOptions, out string) error {
	var cmd *exec.Cmd
	epoch := strconv.FormatInt(o.Epoch.Unix(), 10)
	switch o.Format {
	case Squashfs:
		// Measured on the real root; see docs/architecture.md. Data is written in the order of the archive.
		// -no-xattrs: a tar archive of ours has none.
		// -noappend, for the output file exists. -default-* is what directories not in the archive would get.
		cmd = o.Tools.Command(ctx, "mksquashfs", "-", out, "-tar", "-noappend", "-no-progress", "-quiet", "-no-xattrs",
			"-comp", "zstd", "-Xcompression-level", "16", "-b", strconv.Itoa(squashBlock), "-mkfs-time", epoch, "-all-time", epoch,
			"-default-mode", "0755", "-default-uid", "0", "-default-gid", "0", "-exports")
		if o.threads > 0 {
			cmd.Args = append(cmd.Args, "-processors", strconv.Itoa(o.threads))
		}
	case EROFS:
		cmd = o.Tools.Command(ctx, "mkfs.erofs", "--quiet", "--tar=f", "-zzstd,level=6", "-C131072", "-T", epoch,
			"-U", uuid(t, sums), "-x-1")
		if o.threads > 0 {
			cmd.Args = append(cmd.Args, "--workers="+strconv.Itoa(o.threads))
		}
		cmd.Args = append(cmd.Args, out)
	default:
		return fmt.Errorf("root format %q: want %s or %s", o.Format, Squashfs, EROFS)
	}
	// The stat buffer of a terminal must not get in: output is kept for the error alone.
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("write the root as %s: %w", o.Format, err)
	}
	terr := errors.Join(t.WriteTar(in, o.Epoch, stability), in.Close())
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("write the root as %s: %w: %s", o.Format, err, strings.TrimSpace(text.String()))
	}
	if terr != nil {
		return fmt.Errorf("write the root as %s: %w", o.Format, terr)
	}
	return check(out, o.Format)
}

// check looks for the magic number, and pads the image to whole 4096-byte blocks, which verity counts in.
func check(file string, format Format) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	magic, at := []byte("hsqs"), int64(0)
	if format == EROFS {
		magic, at = []byte{0xe2, 0xe1, 0xf5, 0xe0}, 1024
	}
	got := make([]byte, len(magic))
	if _, err := f.ReadAt(got, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(got, magic) {
		return fmt.Errorf("the written root is no %s: got % x at byte %d, want % x", format, got, at, magic)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := f.Truncate((fi.Size() + 4095) &^ 4095); err != nil {
		return err
	}
	return f.Sync()
}

// uuid derives the filesystem's UUID from the tree (RFC 9562 version 8).
func uuid(t *tree.Tree, sums map[string]tree.Sum) string {
	d := t.Digest(sums)
	b := sha256.Sum256(append([]byte("keelson root filesystem\x00"), d[:]...))
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
