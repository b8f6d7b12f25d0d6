package uefi

import (
	"cmp"
	"strings"
)

// compareVersions orders two versions as systemd-boot does: as UAPI.10, the Version Format Specification, says.
func compareVersions(a, b string) int {
	for {
		a, b = skip(a), skip(b)
		for _, mark := range []string{"~", "", "-", "^", "."} { // each is older than what follows it
			inA, inB := begins(a, mark), begins(b, mark)
			if inA != inB {
				if inA {
					return -1
				}
				return 1
			}
			if inA {
				if mark == "" {
					return 0
				}
				a, b = a[1:], b[1:]
				break
			}
		}
		var result int
		if digit(a) || digit(b) {
			x, y := run(a, digit), run(b, digit)
			a, b = a[len(x):], b[len(y):]
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			result = cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		} else {
			x, y := run(a, letter), run(b, letter)
			a, b = a[len(x):], b[len(y):]
			result = cmp.Compare(x, y)
		}
		if result != 0 {
			return result
		}
	}
}

// skip leaves out what has no meaning in a version.
func skip(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return !(r < 128 && (digit(string(r)) || letter(string(r)) || strings.ContainsRune("-.~^", r)))
	})
}

// begins says whether s begins with the mark; "" is its end.
func begins(s, mark string) bool {
	if mark == "" {
		return s == ""
	}
	return strings.HasPrefix(s, mark)
}

func digit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

func letter(s string) bool { return s != "" && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z') }

// run is the longest beginning of s of one kind.
func run(s string, kind func(string) bool) string {
	n := 0
	for kind(s[n:]) {
		n++
	}
	return s[:n]
}
