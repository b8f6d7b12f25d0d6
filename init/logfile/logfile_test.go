package logfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFilesStayBoundedAndInOrder(t *testing.T) {
	dir := t.TempDir()
	l := New(dir, "node", 1000, 2)
	for i := range 500 {
		fmt.Fprintf(l, "line %04d\n", i)
	}
	l.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Fatalf("%d files, want 3", len(entries))
	}
	var all []byte
	for _, name := range []string{"node.log.2", "node.log.1", "node.log"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 1000 || len(b) == 0 {
			t.Errorf("%s has %d bytes, want 1 to 1000", name, len(b))
		}
		all = append(all, b...)
	}
	lines := strings.Split(strings.TrimSpace(string(all)), "\n")
	for i, line := range lines {
		if want := fmt.Sprintf("line %04d", 500-len(lines)+i); line != want {
			t.Fatalf("line %d is %q, want %q", i, line, want)
		}
	}
}

func TestWritesAreJoinedForSomeSeconds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := New(dir, "node", 1<<20, 1)
		defer l.Close()
		fmt.Fprintln(l, "a")
		time.Sleep(FlushEvery - time.Second)
		fmt.Fprintln(l, "b")
		if b, _ := os.ReadFile(l.Path()); len(b) != 0 {
			t.Errorf("after %v the file holds %q, want nothing", FlushEvery-time.Second, b)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if b, _ := os.ReadFile(l.Path()); string(b) != "a\nb\n" {
			t.Errorf("after %v the file holds %q, want both lines", FlushEvery, b)
		}
	})
}

func TestAnExistingFileIsContinued(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		l := New(dir, "x", 100, 1)
		l.Write(bytes.Repeat([]byte("x"), 59))
		l.Write([]byte("\n"))
		l.Close()
	}
	if b, err := os.ReadFile(filepath.Join(dir, "x.log.1")); err != nil || len(b) < 59 {
		t.Errorf("the first file was not kept: %d bytes, %v", len(b), err)
	}
}

func TestABrokenFolderDropsAndGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := New(path, "x", 100, 1)
	for range 50 {
		if n, err := l.Write([]byte("0123456789\n")); n != 11 || err != nil {
			t.Fatalf("Write = %d, %v, want 11, nil", n, err)
		}
	}
	l.Close()
	l.Write([]byte("after\n"))
}
