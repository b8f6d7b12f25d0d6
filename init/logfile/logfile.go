// Package logfile keeps one service's log in a few files of bounded size.
//
// The newest is NAME.log; the older ones are NAME.log.1, NAME.log.2, …. What is written
// stays in memory for a few seconds: an SD card lives longer with one write of 20 lines
// than with 20 of one. A crash of the machine loses those seconds.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// FlushEvery is how long a line may stay in memory.
	FlushEvery = 5 * time.Second
	// bufferSize is, in bytes, how much may stay in memory.
	bufferSize = 32 << 10
)

// File is a log that may be written by several goroutines. Its methods never fail: a full
// or broken disk must not stop who logs; what cannot be written is dropped and counted.
type File struct {
	path    string
	maxSize int64
	keep    int

	mu      sync.Mutex
	f       *os.File
	size    int64 // of f, with what is in buf
	buf     []byte
	dropped int
	timer   *time.Timer
	closed  bool
}

// New returns the log dir/name.log. maxSize is in bytes per file; keep is how many older
// files stay. Nothing is opened before the first write.
func New(dir, name string, maxSize int64, keep int) *File {
	return &File{path: filepath.Join(dir, name+".log"), maxSize: maxSize, keep: keep}
}

// Path returns the path of the newest file.
func (l *File) Path() string { return l.path }

// Write appends p, which should be whole lines: a file ends between two writes.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	if l.f == nil {
		l.open()
	}
	if l.size > 0 && l.size+int64(len(p)) > l.maxSize {
		l.rotate()
	}
	if len(l.buf)+len(p) > bufferSize {
		l.flush()
	}
	l.size += int64(len(p))
	if len(p) >= bufferSize {
		l.put(p)
		return len(p), nil
	}
	l.buf = append(l.buf, p...)
	if l.timer == nil {
		l.timer = time.AfterFunc(FlushEvery, l.Flush)
	}
	return len(p), nil
}

// Flush hands everything to the kernel.
func (l *File) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

// Close writes everything to the disk and drops whatever comes later.
func (l *File) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	l.closed = true
	if l.f != nil {
		l.f.Sync()
		l.f.Close()
		l.f = nil
	}
}

func (l *File) open() {
	os.MkdirAll(filepath.Dir(l.path), 0o755)
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return
	}
	l.f = f
	if st, err := f.Stat(); err == nil {
		l.size = st.Size() + int64(len(l.buf))
	}
}

func (l *File) flush() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.buf) > 0 {
		l.put(l.buf)
		l.buf = l.buf[:0]
	}
}

func (l *File) put(p []byte) {
	if l.f == nil {
		l.open()
	}
	if l.f == nil {
		l.dropped++
		return
	}
	if l.dropped > 0 {
		fmt.Fprintf(l.f, "(%d writes lost: the log could not be written)\n", l.dropped)
		l.dropped = 0
	}
	if _, err := l.f.Write(p); err != nil {
		l.dropped++
	}
}

// rotate begins a new file. The oldest goes first, so that a power cut in between leaves
// a gap in the numbers and loses nothing.
func (l *File) rotate() {
	l.flush()
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
	l.size = 0
	remove(l.numbered(l.keep))
	for i := l.keep - 1; i >= 0; i-- {
		os.Rename(l.numbered(i), l.numbered(i+1))
	}
	if l.keep == 0 {
		remove(l.path)
	}
	l.open()
}

func (l *File) numbered(i int) string {
	if i == 0 {
		return l.path
	}
	return fmt.Sprintf("%s.%d", l.path, i)
}

func remove(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		// It cannot be kept out of the way; a truncated file at least is bounded.
		os.Truncate(path, 0)
	}
}
