package output

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

// names returns what is in dir.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

func TestFileAppearsAtCommitOnly(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "a.img")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(target, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("new content"), 0); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(target); string(b) != "old" {
		t.Errorf("before Commit: %q, want old", b)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(target); string(b) != "new content" {
		t.Errorf("after Commit: %q", b)
	}
	if err := f.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left in the directory: %v", got)
	}
}

func TestAbortLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "a.img")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(target, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(target); string(b) != "old" {
		t.Errorf("after Abort: %q, want old", b)
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left in the directory: %v", got)
	}
}

func TestCommitKeepsASymbolicLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "v1.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("v1.img", filepath.Join(dir, "latest.img")); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "latest.img"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "v1.img")); string(b) != "x" {
		t.Errorf("v1.img = %q, want x", b)
	}
}

func TestCheckRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, target string }{
		{"directory", dir},
		{"character device", "/dev/null"},
		{"pipe", fifo},
		{"missing directory", filepath.Join(dir, "no", "a.img")},
		{"directory is a file", filepath.Join(file, "a.img")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := Check(tt.target); !errors.Is(err, ErrTarget) {
				t.Errorf("Check(%s) = %v, want ErrTarget", tt.target, err)
			}
			if _, err := Create(tt.target, 0o600); !errors.Is(err, ErrTarget) {
				t.Errorf("Create(%s) = %v, want ErrTarget", tt.target, err)
			}
		})
	}
	if err := Check(file); err != nil {
		t.Errorf("Check of a regular file: %v", err)
	}
}

// TestDiskFullLeavesTheOldFile runs itself again in a user and mount namespace with a
// tmpfs of 4 MiB, fills it, and looks at what is left.
func TestDiskFullLeavesTheOldFile(t *testing.T) {
	if dir := os.Getenv("OUTPUT_TEST_TMPFS"); dir != "" {
		diskFull(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "OUTPUT_TEST_TMPFS="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		reftool.Missing(t, fmt.Errorf("no user namespaces here: %w", err))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func diskFull(t *testing.T, dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	target := filepath.Join(dir, "a.img")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(err error, need int64) {
		t.Helper()
		var full *FullError
		if !errors.As(err, &full) || full.Need != need || full.Free < 3<<20 || full.Free > 4<<20 {
			t.Errorf("got %v (%+v), want a FullError: %d needed, about 4 MiB free", err, full, need)
		}
		if b, _ := os.ReadFile(target); string(b) != "old" {
			t.Errorf("target = %q, want old", b)
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("left in the directory: %v", got)
		}
	}

	f, err := Create(target, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Expect(8 << 20)
	if aerr := f.Abort(); aerr != nil {
		t.Error(aerr)
	}
	check(err, 8<<20)

	// Somebody else takes the room in the meantime: the write fails in the middle.
	if f, err = Create(target, 0o600); err != nil {
		t.Fatal(err)
	}
	f.need = 5 << 20
	buf := make([]byte, 1<<20)
	for off := int64(0); err == nil && off < 8<<20; off += int64(len(buf)) {
		_, err = f.WriteAt(buf, off)
	}
	if aerr := f.Abort(); aerr != nil {
		t.Error(aerr)
	}
	check(err, 5<<20)
}
