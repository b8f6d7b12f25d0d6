package module

import (
	"bytes"
	"iter"
	"strings"
)

// canonical is the form of a module name that is compared.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// nameOf returns the canonical module name of a path such as "kernel/fs/ext4/ext4.ko.xz",
// or "" when it is not a module.
func nameOf(path string) string {
	base := path[strings.LastIndexByte(path, '/')+1:]
	name, ext, ok := strings.Cut(base, ".ko")
	if !ok || name == "" || ext != "" && ext[0] != '.' {
		return ""
	}
	return canonical(name)
}

// entry is one module of modules.dep.
type entry struct {
	path string   // relative to the folder of the tables
	deps []string // canonical names, in the order they must be loaded
}

// lines yields the lines of a table without comments and empty ones.
func lines(b []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(b) {
			s := strings.TrimSpace(string(line))
			if s == "" || s[0] == '#' {
				continue
			}
			if !yield(s) {
				return
			}
		}
	}
}

// parseDep reads modules.dep. depmod lists a module's needs, direct and indirect, so that
// the last is to be loaded first. Paths that leave the folder are left out.
func parseDep(b []byte) map[string]entry {
	deps := map[string]entry{}
	for line := range lines(b) {
		path, rest, ok := strings.Cut(line, ":")
		name := nameOf(path)
		if !ok || name == "" || unsafePath(path) {
			continue
		}
		e := entry{path: path}
		needs := strings.Fields(rest)
		for i := len(needs) - 1; i >= 0; i-- {
			if dep := nameOf(needs[i]); dep != "" {
				e.deps = append(e.deps, dep)
			}
		}
		deps[name] = e
	}
	return deps
}

func unsafePath(path string) bool {
	if strings.HasPrefix(path, "/") {
		return true
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// parseBuiltin reads modules.builtin.
func parseBuiltin(b []byte) map[string]bool {
	names := map[string]bool{}
	for line := range lines(b) {
		if name := nameOf(line); name != "" {
			names[name] = true
		}
	}
	return names
}

// soft is what a module wants to have loaded before and after itself; names or aliases.
type soft struct {
	pre, post []string
}

// parseSoftdep reads modules.softdep; several lines of one module add up.
func parseSoftdep(b []byte) map[string]soft {
	deps := map[string]soft{}
	for line := range lines(b) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "softdep" {
			continue
		}
		name := canonical(words[1])
		s, list := deps[name], (*[]string)(nil)
		for _, w := range words[2:] {
			switch {
			case w == "pre:":
				list = &s.pre
			case w == "post:":
				list = &s.post
			case list != nil:
				*list = append(*list, w)
			}
		}
		deps[name] = s
	}
	return deps
}

// aliases is modules.alias, indexed by the literal text before a pattern's first
// wildcard: a lookup tries each prefix of the alias, not each of 20 000 patterns.
type aliases struct {
	byPrefix map[string][]alias
}

type alias struct {
	rest   string // the pattern from its first wildcard on
	module string // canonical
}

func parseAlias(b []byte) *aliases {
	a := &aliases{byPrefix: map[string][]alias{}}
	text := string(b) // one copy; all strings below are parts of it
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		rest, ok := strings.CutPrefix(line, "alias ")
		if !ok {
			continue
		}
		i := strings.LastIndexByte(rest, ' ')
		if i <= 0 {
			continue
		}
		pattern, module := rest[:i], canonical(rest[i+1:])
		n := strings.IndexAny(pattern, "*?[")
		if n < 0 {
			n = len(pattern)
		}
		prefix := aliasKey(pattern[:n])
		a.byPrefix[prefix] = append(a.byPrefix[prefix], alias{rest: pattern[n:], module: module})
	}
	return a
}

// aliasKey makes "-" and "_" equal, as modprobe does for aliases that are names
// ("crypto-aes", "fs-ext4").
func aliasKey(s string) string {
	if strings.IndexByte(s, '-') < 0 {
		return s
	}
	return canonical(s)
}

// lookup returns the modules whose alias patterns match name, each once, in file order
// per prefix.
func (a *aliases) lookup(name string) []string {
	key := aliasKey(name)
	var modules []string
	seen := map[string]bool{}
	for n := 0; n <= len(key); n++ {
		for _, p := range a.byPrefix[key[:n]] {
			if !seen[p.module] && match(p.rest, name[n:]) {
				seen[p.module] = true
				modules = append(modules, p.module)
			}
		}
	}
	return modules
}

// match reports whether name matches a shell pattern of *, ? and [sets].
// It runs in len(pattern)*len(name) steps at worst.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		if p < len(pattern) {
			switch pattern[p] {
			case '*':
				star, mark = p, n
				p++
				continue
			case '?':
				p++
				n++
				continue
			case '[':
				if next, ok := matchSet(pattern, p, name[n]); ok {
					p = next
					n++
					continue
				}
			default:
				if pattern[p] == name[n] {
					p++
					n++
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchSet matches c against the set that starts at pattern[p] == '['; next is the index
// after it. A set without an end matches nothing.
func matchSet(pattern string, p int, c byte) (next int, ok bool) {
	end := strings.IndexByte(pattern[p+1:], ']')
	if end < 0 {
		return 0, false
	}
	set := pattern[p+1 : p+1+end]
	not := strings.HasPrefix(set, "!") || strings.HasPrefix(set, "^")
	if not {
		set = set[1:]
	}
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			ok = ok || set[i] <= c && c <= set[i+2]
			i += 2
			continue
		}
		ok = ok || set[i] == c
	}
	return p + 1 + end + 1, ok != not
}
