package facts

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// textMax bounds, in bytes, what is read of one file of the kernel's.
const textMax = 256 << 10

// read returns a file's text without the line end; empty if it cannot be read.
func read(elements ...string) string {
	f, err := os.Open(filepath.Join(elements...))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, textMax))
	if err != nil {
		return "" // files of sensors answer with errors while the device sleeps
	}
	return strings.TrimRight(string(b), "\n")
}

// number returns the number that a file holds, 0 if there is none.
func number(elements ...string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(read(elements...)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// link returns the last element of what a symbolic link names, empty if there is none.
func link(elements ...string) string {
	to, err := os.Readlink(filepath.Join(elements...))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}
