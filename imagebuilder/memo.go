package imagebuilder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/output"
)

// memo remembers digests of files, so that 250 MB of programs are not read again for each
// build. A digest is reused only if device, inode, size, mtime and ctime of the file are
// those it had, and it had not been changed shortly before it was read (git's "racy" rule): a
// write within the clock's granularity could not be seen otherwise. ctime cannot be set
// back, so a file copied over with its old mtime is read again.
type memo struct {
	file    string
	entries map[string]memoEntry
	changed bool
	now     func() time.Time
}

type memoEntry struct {
	Dev, Ino     uint64
	Size         int64
	MTime, CTime int64 // nanoseconds
	SHA256       string
}

// racy is how old a file's last change must be for its digest to be remembered: coarser than the
// clock tick of every Linux file system but vfat, which counts in two seconds.
const racy = 2 * time.Second

// openMemo reads the memo; one that cannot be read is empty.
func openMemo(file string) *memo {
	m := &memo{file: file, entries: map[string]memoEntry{}, now: time.Now}
	if b, err := os.ReadFile(file); err == nil {
		if json.Unmarshal(b, &m.entries) != nil {
			m.entries = map[string]memoEntry{}
		}
	}
	return m
}

// stamp identifies a state of a file.
func stamp(st *syscall.Stat_t) memoEntry {
	return memoEntry{
		Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size,
		MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(),
	}
}

// sum returns the SHA-256 of the file.
func (m *memo) sum(path string) (_ [32]byte, err error) {
	var sum [32]byte
	path, err = filepath.Abs(path)
	if err != nil {
		return sum, err
	}
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return sum, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	now := stamp(&st)
	old, ok := m.entries[path]
	now.SHA256 = old.SHA256
	if ok && old == now {
		if b, err := hex.DecodeString(old.SHA256); err == nil && copy(sum[:], b) == len(sum) {
			return sum, nil
		}
	}
	began := m.now()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	m.changed = true
	delete(m.entries, path)
	if last := time.Unix(0, max(now.MTime, now.CTime)); began.Sub(last) > racy {
		now.SHA256 = hex.EncodeToString(sum[:])
		m.entries[path] = now
	}
	return sum, nil
}

// save writes the memo. Files that are gone are forgotten.
func (m *memo) save() error {
	if !m.changed {
		return nil
	}
	for path := range m.entries {
		if _, err := os.Lstat(path); err != nil {
			delete(m.entries, path)
		}
	}
	b, err := json.Marshal(m.entries)
	if err != nil {
		return err
	}
	return output.WriteFile(m.file, b, 0o600)
}
