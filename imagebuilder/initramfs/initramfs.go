// Package initramfs makes the initramfs of a board: Keelson's init, which runs its boot stage there,
// and the kernel modules it takes to find the disk and open the root with verity.
//
// The format is a cpio archive ("newc") compressed as one zstd frame. All owners are root, all
// times the epoch of cpio (0), inode numbers count from 1, and compression uses one
// thread: the bytes depend on the contents alone.
package initramfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/kmod"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// Input is what an initramfs is made of.
type Input struct {
	Board   *boards.Board
	Modules *kmod.Tree
	// Init is the file of the init program for the board's architecture.
	Init string
	// Version is Keelson's.
	Version string
}

// Assemble returns the initramfs of in.
func Assemble(in Input) (*tree.Tree, error) {
	t := tree.New()
	layout := tree.Origin{Kind: tree.Keelson, Name: "layout"}
	var errs []error
	for _, d := range []string{"dev", "proc", "sys", "run", "tmp", "root"} {
		errs = append(errs, t.AddDir(d, 0o755, layout))
	}
	// The kernel opens it for init before init can mount devtmpfs.
	errs = append(errs, t.Add(tree.Entry{Path: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1, Origin: layout}))
	release := fmt.Sprintf("ID=keelson\nNAME=\"Keelson\"\nVERSION_ID=\"%[1]s\"\nPRETTY_NAME=\"Keelson %[1]s (initramfs)\"\n", in.Version)
	errs = append(errs,
		t.AddData("etc/initrd-release", 0o644, []byte(release), layout),
		t.AddLink("lib", "usr/lib", layout),
		t.AddLink("sbin", "usr/sbin", layout),
		t.AddLink("usr/sbin/modprobe", "/init", layout),
		t.AddFile("init", 0o755, in.Init, tree.Origin{Kind: tree.Program, Name: "init"}))
	modules, err := in.Modules.Select(in.Board.Modules.Initramfs)
	if err != nil {
		return nil, fmt.Errorf("assemble the initramfs of board %s: %w", in.Board.Name, errors.Join(append(errs, err)...))
	}
	entries, err := in.Modules.Entries(path.Join("usr/lib/modules", in.Modules.Version), modules)
	if err := errors.Join(append(errs, err, t.AddAll(entries))...); err != nil {
		return nil, fmt.Errorf("assemble the initramfs of board %s: %w", in.Board.Name, err)
	}
	return t, nil
}

// Write writes t as a compressed initramfs.
func Write(w io.Writer, t *tree.Tree) error {
	// Two threads or more would cut the input into other blocks.
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	if err := writeCPIO(z, t); err != nil {
		return errors.Join(err, z.Close())
	}
	return z.Close()
}

// stability ranks what seldom changes from one version of Keelson to the next before what does, so that an upgrade finds the
// compressed bytes of the first in the slot that it replaces.
func stability(e *tree.Entry) int {
	switch {
	case e.Mode.IsDir():
		return 0
	case strings.HasPrefix(e.Path, "usr/lib/modules/"):
		return 1
	}
	return 2
}

// writeCPIO writes t as a cpio archive.
func writeCPIO(w io.Writer, t *tree.Tree) error {
	rw := cpio.Newc.Writer(w)
	for i, e := range t.Ranked(stability) {
		if e.Path == "." {
			continue
		}
		r, err := record(&e)
		if err != nil {
			return fmt.Errorf("write %s to the initramfs: %w", e.Path, err)
		}
		r = cpio.MakeReproducible(r)
		r.Ino = uint64(i)
		if err := rw.WriteRecord(r); err != nil {
			return fmt.Errorf("write %s to the initramfs: %w", e.Path, err)
		}
	}
	return cpio.WriteTrailer(rw)
}

// record returns e as a record with its content in memory; an initramfs is small.
func record(e *tree.Entry) (cpio.Record, error) {
	perm := uint64(e.Mode.Perm())
	switch e.Mode.Type() {
	case fs.ModeDir:
		if e.Mode&fs.ModeSticky != 0 {
			perm |= 0o1000
		}
		return cpio.Directory(e.Path, perm), nil
	case fs.ModeSymlink:
		return cpio.Symlink(e.Path, e.Link), nil
	case fs.ModeDevice | fs.ModeCharDevice:
		return cpio.CharDev(e.Path, perm, uint64(e.Major), uint64(e.Minor)), nil
	}
	r, size, err := e.Open()
	if err != nil {
		return cpio.Record{}, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err != nil {
		return cpio.Record{}, err
	}
	if int64(len(data)) != size {
		return cpio.Record{}, io.ErrUnexpectedEOF
	}
	return cpio.StaticFile(e.Path, string(data), perm), nil
}
