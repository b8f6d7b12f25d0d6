package pkgs

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mirror is where packages come from: the archive itself and its security archive.
type mirror struct {
	Archive  string
	Security string
}

// parseMirror reads the --mirror value: ARCHIVE, whose last path element is "debian" and
// whose neighbour "debian-security" is then the security archive, or ARCHIVE,SECURITY.
func parseMirror(s string) (mirror, error) {
	a, sec, two := strings.Cut(s, ",")
	m := mirror{strings.TrimSuffix(a, "/"), strings.TrimSuffix(sec, "/")}
	for _, u := range []string{m.Archive, m.Security} {
		if u == "" && !two {
			continue
		}
		p, err := url.Parse(u)
		if err != nil || p.Scheme == "" || strings.ContainsAny(u, " \t\n[]\"") {
			return mirror{}, fmt.Errorf("mirror %q: %q is not a URL such as https://mirror.example/debian", s, u)
		}
	}
	if !two {
		if path.Base(m.Archive) != "debian" {
			return mirror{}, fmt.Errorf("mirror %q: the path does not end in /debian, so the security archive's place is not known; give both as ARCHIVE,SECURITY", s)
		}
		m.Security = m.Archive + "-security"
	}
	return m, nil
}

// debianSuite matches the suites and code names of the Debian archive itself.
var debianSuite = regexp.MustCompile(`^(buster|bullseye|bookworm|trixie|forky|duke|sid|oldstable|stable|testing|unstable)(-updates|-security|/updates|-backports)?$`)

// source is one (URI, suites, components) of a host's apt configuration.
type source struct {
	uris, suites, components []string
}

// hostMirror finds the mirror that the host itself uses in apt's configuration directory
// (normally /etc/apt). Entries of other archives are passed over.
func hostMirror(etc string) (mirror, error) {
	sources, err := readSources(etc)
	if err != nil {
		return mirror{}, err
	}
	var m mirror
	for _, s := range sources {
		if !slices.Contains(s.components, "main") || len(s.uris) == 0 || strings.HasPrefix(s.uris[0], "cdrom:") {
			continue
		}
		for _, suite := range s.suites {
			uri := strings.TrimSuffix(s.uris[0], "/")
			switch {
			case !debianSuite.MatchString(suite):
			case strings.HasSuffix(suite, "-security") || strings.HasSuffix(suite, "/updates"):
				if m.Security == "" {
					m.Security = uri
				}
			case m.Archive == "":
				m.Archive = uri
			}
		}
	}
	if m.Archive == "" {
		return mirror{}, fmt.Errorf("no Debian mirror in %s/sources.list, %s/sources.list.d: give one with --mirror", etc, etc)
	}
	if m.Security == "" {
		if path.Base(m.Archive) != "debian" {
			return mirror{}, fmt.Errorf("no Debian security mirror in %s: give both with --mirror ARCHIVE,SECURITY", etc)
		}
		m.Security = m.Archive + "-security"
	}
	return m, nil
}

// readSources reads sources.list and sources.list.d/*.{list,sources} below etc.
func readSources(etc string) ([]source, error) {
	files := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	var out []source
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the host's package sources: %w", err)
		}
		if strings.HasSuffix(f, ".sources") {
			out = append(out, parseDeb822(string(text))...)
		} else {
			out = append(out, parseOneLine(string(text))...)
		}
	}
	return out, nil
}

// parseOneLine reads the sources.list format: "deb [options] URI SUITE COMPONENT…".
func parseOneLine(text string) []source {
	var out []source
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, after, ok := strings.Cut(rest, "]")
			if !ok {
				continue
			}
			rest = after
		}
		f := strings.Fields(rest)
		if len(f) < 3 {
			continue
		}
		out = append(out, source{f[:1], f[1:2], f[2:]})
	}
	return out
}

// parseDeb822 reads the .sources format: stanzas of Types, URIs, Suites, Components, Enabled.
func parseDeb822(text string) []source {
	var out []source
	for _, s := range stanzas(text) {
		if slices.Contains(strings.Fields(s["types"]), "deb") && !strings.EqualFold(s["enabled"], "no") {
			out = append(out, source{strings.Fields(s["uris"]), strings.Fields(s["suites"]), strings.Fields(s["components"])})
		}
	}
	return out
}

// stanzas splits text in Debian's control format: stanzas apart by empty lines, "Key: value", lines
// that begin with a space go on, "#" comments. Keys come back in lower case.
// Source: deb822(5).
func stanzas(text string) []map[string]string {
	var out []map[string]string
	cur, key := map[string]string{}, ""
	end := func() {
		if len(cur) > 0 {
			out = append(out, cur)
		}
		cur, key = map[string]string{}, ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if key != "" {
				cur[key] += "\n" + strings.TrimSpace(line)
			}
		default:
			k, v, ok := strings.Cut(line, ":")
			if !ok {
				key = ""
				continue
			}
			key = strings.ToLower(k)
			cur[key] = strings.TrimSpace(v)
		}
	}
	end()
	return out
}
