// Package mountinfo reads /proc/self/mountinfo, on which file systems are mounted where.
// It compiles everywhere, so that its users do.
package mountinfo

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Mount is one line.
type Mount struct {
	Device string // its number, major:minor, as "8:16"
	Point  string // where it is mounted
	FSType string // such as "ext4"
	Source string // what is mounted, such as "/dev/sdb1"; a name without meaning, or empty, for file systems of the kernel
}

// Parse reads all lines in their order, oldest mount first. A line that lacks a field is an error, and so is one of more
// than 1 MiB (bufio.ErrTooLong): overlay mounts have long options.
// Source: Linux, Documentation/filesystems/proc.rst, section 3.5.
func Parse(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, err := parseLine(lines.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

// parseLine reads the six fields, any number of optional ones, a dash and the fields behind it.
func parseLine(line string) (Mount, error) {
	f := strings.Split(line, " ")
	dash := slices.Index(f, "-")
	if dash < 6 || dash+2 >= len(f) || slices.Contains(f[:6], "") || f[dash+1] == "" {
		return Mount{}, fmt.Errorf("mountinfo: %q has not the fields that a mount has", line)
	}
	return Mount{Device: f[2], Point: Unescape(f[4]), FSType: f[dash+1], Source: Unescape(f[dash+2])}, nil
}

// Unescape undoes what the kernel does to white space and backslashes in names, here and
// in /proc/swaps: \040 and the like.
func Unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
