package pkgs

import (
	"archive/tar"
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
	"path"
	"path/filepath"
	"strings"
)

// verifyDeb checks a file's length and SHA-256 against the lock.
func verifyDeb(file string, p *Package) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != p.Size || got != p.SHA256 {
		return fmt.Errorf("package %s %s (%s): got %d bytes with sha256 %s, want %d bytes with sha256 %s: the server's file is not the one in the lock",
			p.Name, p.Version, p.Arch, n, got, p.Size, p.SHA256)
	}
	return nil
}

// unpackDeb writes the files of a .deb below dir, which must exist.
func unpackDeb(ctx context.Context, deb, dir string) (err error) {
	tool, err := exec.LookPath("dpkg-deb")
	if err != nil {
		return &ToolError{Tool: "dpkg-deb", Package: "dpkg", Err: err}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, tool, "--fsys-tarfile", deb)
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	xerr := extract(root, out)
	if xerr != nil {
		out.Close() // dpkg-deb ends by a broken pipe
	}
	if err := cmd.Wait(); err != nil && xerr == nil {
		return fmt.Errorf("dpkg-deb --fsys-tarfile %s: %w: %s", deb, err, strings.TrimSpace(errOut.String()))
	}
	return xerr
}

// extract writes a tar archive's directories, files and links below root. os.Root
// confines it: a member "../x", or one that goes through a link out of root, is an error.
// Modes are 0755 for directories and programs and 0644 else, whatever the umask;
// owners and times are not kept. Devices are refused.
func extract(root *os.Root, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			// The end mark may be followed by padding; a pipe must be read to its end.
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		if name == "." {
			continue
		}
		if err := extractEntry(root, tr, h, name); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

func extractEntry(root *os.Root, tr *tar.Reader, h *tar.Header, name string) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if fi, err := root.Stat(name); err == nil && fi.IsDir() {
			return nil
		}
		return root.Mkdir(name, 0o755)
	case tar.TypeSymlink:
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(path.Clean(strings.TrimPrefix(h.Linkname, "/")), name)
	case tar.TypeReg:
		perm := fs.FileMode(0o644)
		if h.Mode&0o111 != 0 {
			perm = 0o755
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, tr)
		return errors.Join(err, f.Chmod(perm), f.Close())
	}
	return fmt.Errorf("type %q is not supported", h.Typeflag)
}

// inNewDir calls fill with a new directory beside dir and renames it to dir when fill
// has succeeded. When dir exists it does nothing.
func inNewDir(dir string, fill func(tmp string) error) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}
