package apply

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Source is where a bundle is read from, at any place. Several reads at once are not made.
// A read that fails is final: a source that can try again has done so.
type Source interface {
	io.ReaderAt
	// Size is the bundle's length in bytes. It does not change.
	Size() int64
	Close() error
}

var (
	_ Source = (*fileSource)(nil)
	_ Source = (*urlSource)(nil)
)

// fileSource is a bundle that is a file.
type fileSource struct {
	*os.File
	size int64
}

// OpenFile returns the bundle in a regular file. Errors: *fs.PathError, and one for what is no regular file.
func OpenFile(path string) (Source, error) {
	info, err := os.Stat(path) // before it is opened: that would wait at a pipe
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("bundle %s: is no regular file (%s)", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fileSource{f, info.Size()}, nil
}

// Size is the length that the file had when it was opened.
func (s *fileSource) Size() int64 { return s.size }
