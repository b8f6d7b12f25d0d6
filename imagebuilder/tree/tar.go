package tree

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// WriteTar writes the tree as a tar archive (POSIX pax where a field needs it, else USTAR), in the order of Ranked.
// Owners are 0:0 without names; every time is mtime.
func (t *Tree) WriteTar(w io.Writer, mtime time.Time, rank func(*Entry) int) error {
	tw := tar.NewWriter(w)
	for _, e := range t.Ranked(rank) {
		if err := writeTarEntry(tw, &e, mtime); err != nil {
			return fmt.Errorf("write %s to the archive: %w", e.Path, err)
		}
	}
	return tw.Close()
}

func writeTarEntry(tw *tar.Writer, e *Entry, mtime time.Time) error {
	h := &tar.Header{
		Name:    "./" + e.Path,
		Mode:    int64(unixMode(e.Mode)),
		ModTime: mtime.UTC().Truncate(time.Second),
	}
	if e.Path == "." {
		h.Name = "./"
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		h.Typeflag = tar.TypeDir
		if e.Path != "." {
			h.Name += "/"
		}
		return tw.WriteHeader(h)
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
		return tw.WriteHeader(h)
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
		return tw.WriteHeader(h)
	}
	r, size, err := e.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	h.Typeflag, h.Size = tar.TypeReg, size
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(tw, r)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// unixMode returns the permission bits as chmod(2) takes them.
func unixMode(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		u |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		u |= 0o1000
	}
	return u
}
