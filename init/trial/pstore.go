package trial

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// PstoreDir is where the kernel shows what it wrote into memory that survives a reset.
// Source: Documentation/ABI/testing/pstore.
const PstoreDir = "/sys/fs/pstore"

const (
	// pstoreFiles bounds how many files are read, pstoreMax how many bytes of text are kept.
	pstoreFiles = 256
	pstoreMax   = 64 << 10
)

// TakePstore returns the kernel's last words and removes them, so that there is room for the next. save, which may be
// nil, gets them first; if it fails nothing is removed. No words: "".
//
// A crash is several files: "dmesg-BACKEND-N", where the first part, by the line "Panic#1 Part1" at its top, is the latest.
func TakePstore(dir string, save func(text string) error) (text string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	type piece struct {
		name  string
		text  string
		crash int // of this kernel's, from 1 on
		part  int // from 1 on, the latest text first
	}
	var pieces []piece
	var names []string
	console := ""
	for _, e := range entries[:min(len(entries), pstoreFiles)] {
		name := e.Name()
		names = append(names, name)
		ring := strings.HasPrefix(name, "console-")
		if !ring && !strings.HasPrefix(name, "dmesg-") || strings.HasSuffix(name, ".enc.z") {
			continue // of another kind, or what this kernel cannot unpack
		}
		b, err := readBounded(filepath.Join(dir, name), pstoreMax)
		if err != nil {
			return "", err
		}
		p := piece{name: name, text: strings.ToValidUTF8(string(b), "?")}
		if ring {
			// It is there after every reboot, and counts after a panic that left nothing better.
			if strings.Contains(p.text, panicMark) {
				console = p.text
			}
			continue
		}
		head, rest, _ := strings.Cut(p.text, "\n")
		if crash, part, ok := parseHead(head); ok {
			p.crash, p.part, p.text = crash, part, rest
		}
		pieces = append(pieces, p)
	}
	slices.SortFunc(pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.crash, b.crash), cmp.Compare(b.part, a.part), strings.Compare(a.name, b.name))
	})
	var all strings.Builder
	for _, p := range pieces {
		all.WriteString(strings.TrimRight(p.text, "\n\x00"))
		all.WriteByte('\n')
	}
	text = strings.TrimSpace(all.String())
	if text == "" {
		text = strings.TrimSpace(console)
	}
	if len(text) > pstoreMax {
		text = strings.ToValidUTF8(text[len(text)-pstoreMax:], "")
	}
	if text != "" && save != nil {
		if err := save(text); err != nil {
			return text, err
		}
	}
	var errs []error
	for _, name := range names {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return text, errors.Join(errs...)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// parseHead reads "Panic#2 Part3" or "Oops#1 Part10".
// Source: fs/pstore/platform.c, pstore_dump.
func parseHead(line string) (crash, part int, ok bool) {
	why, p, ok := strings.Cut(strings.TrimSpace(line), " Part")
	if !ok {
		return 0, 0, false
	}
	_, n, ok := strings.Cut(why, "#")
	if !ok {
		return 0, 0, false
	}
	crash, err := strconv.Atoi(n)
	if err != nil || crash < 0 {
		return 0, 0, false
	}
	part, err = strconv.Atoi(p)
	if err != nil || part < 0 {
		return 0, 0, false
	}
	return crash, part, true
}

// panicMark is how the kernel begins to say why it panics.
const panicMark = "Kernel panic - not syncing: "

// PanicLine returns the line of a kernel's log that says why it ended.
func PanicLine(text string) string {
	lines := strings.Split(text, "\n")
	for _, mark := range []string{panicMark, "BUG: ", "Oops: ", "Internal error: "} {
		for _, line := range slices.Backward(lines) {
			if _, after, ok := strings.Cut(line, mark); ok {
				if mark == panicMark {
					return after
				}
				return mark + after
			}
		}
	}
	return lines[len(lines)-1]
}
