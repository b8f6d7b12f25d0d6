package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
)

// Disabled reports whether the file rel, a path relative to the folder, is one of those that
// "disable" names: NAME stands for NAME.yaml (.yml, .json) in any folder, and for everything
// in the folder NAME.
func Disabled(rel string, names []string) bool {
	base := filepath.Base(rel)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	for _, name := range names {
		if name != "" && (base == name || strings.HasPrefix(rel, name+"/")) {
			return true
		}
	}
	return false
}

// addonNames returns the names that the Addon of rel may have, best first: k3s's, which is the
// file's up to the first dot, then those that tell files in different folders apart.
func addonNames(rel string) []string {
	short := valid(stem(filepath.Base(rel)))
	long := valid(strings.ReplaceAll(filepath.Join(filepath.Dir(rel), stem(filepath.Base(rel))), "/", "-"))
	sum := sha256.Sum256([]byte(rel))
	return []string{short, long, valid(short + "-" + hex.EncodeToString(sum[:4]))}
}

func stem(base string) string {
	name, _, _ := strings.Cut(base, ".")
	return name
}

// valid makes s an object's name (RFC 1123 label): other characters become "-". The end is
// kept of what is too long, where names differ.
func valid(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, s)
	if len(s) > 63 {
		s = s[len(s)-63:]
	}
	if s = strings.Trim(s, "-"); s == "" {
		return "addon"
	}
	return s
}
