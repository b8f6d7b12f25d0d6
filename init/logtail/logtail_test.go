package logtail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/init/logfile"
)

// write makes files: the first is the newest.
func write(t *testing.T, texts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.log")
	for i, text := range texts {
		if err := os.WriteFile(numbered(path, i), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestTheLastLinesComeFromAsManyFilesAsTheyNeed(t *testing.T) {
	long := strings.Repeat("y", 100_000) + "\n"
	for _, x := range []struct {
		name  string
		files []string // the newest first
		tail  int
		want  string
	}{
		{"all", []string{"c\nd\n", "a\nb\n"}, All, "a\nb\nc\nd\n"},
		{"none", []string{"c\nd\n", "a\nb\n"}, 0, ""},
		{"one", []string{"c\nd\n", "a\nb\n"}, 1, "d\n"},
		{"a whole file", []string{"c\nd\n", "a\nb\n"}, 2, "c\nd\n"},
		{"across", []string{"c\nd\n", "a\nb\n"}, 3, "b\nc\nd\n"},
		{"more than there are", []string{"c\nd\n", "a\nb\n"}, 9, "a\nb\nc\nd\n"},
		{"without an end", []string{"c\nd"}, 1, "d"},
		{"only ends", []string{"\n\n\n"}, 2, "\n\n"},
		{"a new file is empty", []string{"", "a\nb\n"}, 1, "b\n"},
		{"lines longer than a block", []string{long + "z\n", long}, 2, long + "z\n"},
		{"three files", []string{"c\n", "b\n", "a\n"}, 2, "b\nc\n"},
	} {
		var out bytes.Buffer
		if err := Copy(context.Background(), &out, write(t, x.files...), Options{Tail: x.tail}); err != nil || out.String() != x.want {
			t.Errorf("%s: Copy(tail %d) = %.60q, %v, want %.60q", x.name, x.tail, out.String(), err, x.want)
		}
	}
	if err := Copy(context.Background(), &bytes.Buffer{}, filepath.Join(t.TempDir(), "none.log"), Options{Tail: All}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Copy of no log = %v, want fs.ErrNotExist", err)
	}
}

// collector is a writer that can be looked at.
type collector struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func TestAFollowedLogLosesAndRepeatsNothingAcrossRotations(t *testing.T) {
	dir := t.TempDir()
	log := logfile.New(dir, "x", 2000, 3)
	var want strings.Builder
	line := func(i int) {
		text := fmt.Sprintf("line %05d of the log\n", i)
		want.WriteString(text)
		log.Write([]byte(text))
	}
	for i := range 20 {
		line(i)
	}
	log.Flush()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got collector
	ended := make(chan error, 1)
	go func() { ended <- Copy(ctx, &got, log.Path(), Options{Tail: All, Follow: true}) }()
	// 2000 bytes are 86 lines: several rotations, and at times two between two looks, but never as many as files are kept.
	i := 20
	for range 8 {
		for range 130 {
			line(i)
			i++
		}
		log.Flush()
		waitFor(t, func() bool { return got.String() == want.String() }, &got, &want)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Copy, its context ended = %v, want nil", err)
	}
}

func waitFor(t *testing.T, done func() bool, got *collector, want *strings.Builder) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("got %d bytes, want %d; they end with %q and %q", len(got.String()), want.Len(), last(got.String()), last(want.String()))
		}
	}
}

func last(s string) string { return s[max(0, len(s)-60):] }

func TestAFollowedLogMayAppearLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got collector
	ended := make(chan error, 1)
	go func() { ended <- Copy(ctx, &got, path, Options{Tail: All, Follow: true}) }()
	if err := os.WriteFile(path, []byte("now\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("now\n")
	waitFor(t, func() bool { return got.String() == "now\n" }, &got, &want)
	cancel()
	<-ended
}

func TestLastBeginsWithAWholeLine(t *testing.T) {
	path := write(t, "first\nsecond\nthird\n")
	for n, want := range map[int64]string{100: "first\nsecond\nthird\n", 19: "first\nsecond\nthird\n", 8: "third\n", 6: "", 13: "third\n", 14: "second\nthird\n"} {
		got, err := Last(path, n)
		if err != nil || string(got) != want {
			t.Errorf("Last(%d) = %q, %v, want %q", n, got, err, want)
		}
	}
}
