// Package logtail reads the logs that package logfile writes: NAME.log and, older, NAME.log.1, NAME.log.2, …, as one text, from
// its beginning or from some lines before its end, and then what is added, across rotations.
//
// The writer keeps lines in memory for up to logfile.FlushEvery; they are seen when they reach the file.
package logtail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// All, as a tail, is everything.
const All = -1

// keptMax is how many older files are looked for.
const keptMax = 9

// poll is the time between two looks at a log that is followed.
const poll = 500 * time.Millisecond

// Options say how much is wanted.
type Options struct {
	Tail   int  // lines from the end, or All
	Follow bool // go on until ctx ends
}

// Copy writes the log at path, the name of its newest file, to w. Without Follow it ends at the log's end; with it, when ctx ends (nil) or w fails.
// fs.ErrNotExist: there is no such log, and Follow was not asked for; with it, the log may appear.
func Copy(ctx context.Context, w io.Writer, path string, o Options) error {
	f := &follower{path: path, w: w}
	defer func() { f.close() }()
	if err := f.open(); err != nil {
		return err
	}
	if len(f.files) == 0 && !o.Follow {
		return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err := f.seek(o.Tail); err != nil {
		return err
	}
	if err := f.drain(ctx); err != nil || !o.Follow {
		return err
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f.more(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// Files returns the paths of a log's files that exist, the oldest first.
func Files(path string) []string {
	var found []string
	for i := keptMax; i >= 0; i-- {
		if _, err := os.Stat(numbered(path, i)); err == nil {
			found = append(found, numbered(path, i))
		}
	}
	return found
}

func numbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// follower holds the files that are still to be read, the oldest first. It never goes back: the last one is kept
// open when it has been read, to be known again after a rotation.
type follower struct {
	path  string
	w     io.Writer
	files []*os.File
	buf   []byte
}

// open opens every file. The newest is opened first: a rotation in between moves files to higher numbers, so that one is met
// twice, which is seen, and none is missed but a new one, which more finds.
func (f *follower) open() error {
	var infos []fs.FileInfo
	for i := 0; i <= keptMax; i++ {
		file, err := os.Open(numbered(f.path, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err != nil {
			return errors.Join(err, file.Close())
		}
		if !info.Mode().IsRegular() || contains(infos, info) {
			file.Close()
			continue
		}
		infos = append(infos, info)
		f.files = append([]*os.File{file}, f.files...)
	}
	return nil
}

func contains(infos []fs.FileInfo, info fs.FileInfo) bool {
	for _, have := range infos {
		if os.SameFile(have, info) {
			return true
		}
	}
	return false
}

func (f *follower) close() {
	for _, file := range f.files {
		file.Close()
	}
	f.files = nil
}

// seek drops the files before the last lines, and sets the offset of the one in which they begin.
func (f *follower) seek(lines int) error {
	if lines < 0 || len(f.files) == 0 {
		return nil
	}
	left := lines
	for i := len(f.files) - 1; i >= 0; i-- {
		at, found, err := before(f.files[i], left)
		if err != nil {
			return err
		}
		if left -= found; left > 0 && i > 0 {
			continue
		}
		for _, file := range f.files[:i] {
			file.Close()
		}
		f.files = f.files[i:]
		_, err = f.files[0].Seek(at, io.SeekStart)
		return err
	}
	return nil
}

// before returns where the last lines of a file begin, and how many there are: fewer than asked for when the
// file has no more. A last line without its end counts.
func before(file *os.File, lines int) (at int64, found int, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, 0, err
	}
	size := info.Size()
	if lines == 0 || size == 0 {
		return size, 0, nil
	}
	buf := make([]byte, 32<<10)
	end, last := size, true
	for end > 0 {
		n := min(int64(len(buf)), end)
		// The file may have been cut short by a full disk's writer meanwhile: what is missing has no lines.
		if m, err := file.ReadAt(buf[:n], end-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		} else if int64(m) < n {
			return 0, found, nil
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] != '\n' {
				last = false
				continue
			}
			if last { // the end of the last line begins no other
				last = false
				continue
			}
			if found++; found == lines {
				return end - n + i + 1, found, nil
			}
		}
		end -= n
	}
	return 0, found + 1, nil
}

// drain writes all that the files hold, and keeps the last one open.
func (f *follower) drain(ctx context.Context) error {
	if f.buf == nil {
		f.buf = make([]byte, 32<<10)
	}
	for len(f.files) > 0 {
		n, err := f.files[0].Read(f.buf)
		if n > 0 {
			if _, err := f.w.Write(f.buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF) && len(f.files) == 1:
			return nil
		case errors.Is(err, io.EOF):
			f.files[0].Close()
			f.files = f.files[1:]
		case err != nil:
			return err
		}
	}
	return nil
}

// more writes what was added since. A log that was rotated goes on in the files that are newer than ours.
func (f *follower) more(ctx context.Context) error {
	if len(f.files) == 0 {
		if err := f.open(); err != nil {
			return err
		}
		return f.drain(ctx)
	}
	ours, err := f.files[0].Stat()
	if err != nil {
		return err
	}
	// Before anything is read: when another file has our name by now, ours gets nothing more than it has.
	newest, err := os.Stat(f.path)
	rotated := err == nil && !os.SameFile(ours, newest)
	if at, err := f.files[0].Seek(0, io.SeekCurrent); err == nil && ours.Size() < at {
		if _, err := f.files[0].Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if err := f.drain(ctx); err != nil || !rotated {
		return err
	}
	known := f.files[0]
	f.files = nil
	if err := f.open(); err != nil {
		return errors.Join(err, known.Close())
	}
	newer := f.files
	for i, file := range f.files {
		if info, err := file.Stat(); err == nil && os.SameFile(info, ours) {
			for _, old := range f.files[:i+1] {
				old.Close()
			}
			newer = f.files[i+1:]
			break
		}
	}
	// If ours is gone, all there are are newer.
	known.Close()
	f.files = newer
	return f.drain(ctx)
}

// Last returns at most max bytes from the end of a file, beginning with a whole line.
func Last(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	skipped := info.Size() > most
	if skipped {
		if _, err := file.Seek(info.Size()-most, io.SeekStart); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, most))
	if skipped {
		if _, rest, ok := bytes.Cut(data, []byte("\n")); ok {
			data = rest
		}
	}
	return data, err
}
