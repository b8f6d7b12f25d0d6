package mountinfo

import (
	"bufio"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseKeepsTheKernelsOrder(t *testing.T) {
	in := `22 1 254:0 / / ro,relatime shared:1 - squashfs /dev/dm-0 ro
30 22 8:5 / /var/lib/rancher rw,noatime shared:2 master:3 - ext4 /dev/sda5 rw
31 30 0:40 / /run/a\040b\134c rw - tmpfs tmpfs rw
`
	got, err := Parse(strings.NewReader(in))
	want := []Mount{
		{"254:0", "/", "squashfs", "/dev/dm-0"}, {"8:5", "/var/lib/rancher", "ext4", "/dev/sda5"}, {"0:40", `/run/a b\c`, "tmpfs", "tmpfs"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Parse = %q, %v, want %q", got, err, want)
	}
}

func TestParseReadsEveryKindOfLine(t *testing.T) {
	for line, want := range map[string]Mount{
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue": {"98:0", "/mnt2", "ext3", "/dev/root"}, // of proc.rst
		`1 2 8:1 / /a\040b\134c rw - vfat /dev/x\011y rw`:                                {"8:1", `/a b\c`, "vfat", "/dev/x\ty"},
		"1 2 8:1 / /a rw shared:1 master:2 propagate_from:3 unbindable - vfat none rw":   {"8:1", "/a", "vfat", "none"},
		"1 2 0:9 / /a rw - tmpfs  rw":                                                    {"0:9", "/a", "tmpfs", ""}, // mounted without a source
		"1 2 0:9 / /a rw - overlay overlay lowerdir=" + strings.Repeat("/layer:", 90000): {"0:9", "/a", "overlay", "overlay"},
	} {
		if got, err := Parse(strings.NewReader(line + "\n")); err != nil || !slices.Equal(got, []Mount{want}) {
			t.Errorf("Parse(%.100q) = %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func TestParseRefusesLinesWithoutTheFields(t *testing.T) {
	const good = "22 1 254:0 / / ro - squashfs /dev/dm-0 ro\n"
	for _, line := range []string{
		"", "a b c", "1 2 8:1 / /a rw", "1 2 - ext4 /dev/sda rw", "1 2 3 4 5 6 - ext4", "22 1 254:0 / /",
		"1 2 3 4 5 6 -", "1 2 8:1 /  rw - ext4 /dev/sda rw", "1 2 8:1 / /a rw -  /dev/sda rw", "- 2 8:1 / /a rw - ext4 /dev/sda rw",
	} {
		if got, err := Parse(strings.NewReader(good + line + "\n")); err == nil {
			t.Errorf("Parse of %q = %+v, nil, want an error", line, got)
		}
	}
	long := "1 2 0:9 / /a rw - overlay overlay lowerdir=" + strings.Repeat("/layer:", 1<<18)
	if got, err := Parse(strings.NewReader(good + long)); !errors.Is(err, bufio.ErrTooLong) {
		t.Errorf("Parse of a line of %d bytes = %d mounts, %v, want bufio.ErrTooLong", len(long), len(got), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("22 1 254:0 / /a\\040b ro shared:1 - ext4 x rw\n")
	f.Add(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw`)
	f.Fuzz(func(t *testing.T, s string) {
		mounts, err := Parse(strings.NewReader(s))
		if err != nil {
			return
		}
		size := 0
		for _, m := range mounts {
			size += 1 + len(m.Device) + len(m.Point) + len(m.FSType) + len(m.Source)
		}
		if size > len(s) {
			t.Errorf("Parse(%q) = %+v, which is more than was there", s, mounts)
		}
	})
}
