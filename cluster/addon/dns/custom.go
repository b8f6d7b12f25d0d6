package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// files are the texts that CoreDNS reads, in a folder that a reboot may lose.
type files struct {
	dir    string
	custom map[string]string // what the folder custom holds
}

// writeHosts writes NodeHosts.
func (f *files) writeHosts(text string) error {
	return replace(filepath.Join(f.dir, hostsName), text)
}

func replace(path, text string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// setCustom makes the folder custom hold exactly these keys. Keys are file names: the API
// admits no slash in them.
func (f *files) setCustom(custom map[string]string) error {
	if f.custom != nil && maps.Equal(f.custom, custom) {
		return nil
	}
	dir := filepath.Join(f.dir, customName)
	fresh, old := dir+".new", dir+".old"
	for _, d := range []string{fresh, old} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(fresh, 0o700); err != nil {
		return err
	}
	for k, text := range custom {
		if !filepath.IsLocal(k) || filepath.Base(k) != k {
			return fmt.Errorf("key %q is not a file name", k)
		}
		if err := os.WriteFile(filepath.Join(fresh, k), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	f.custom = maps.Clone(custom)
	if f.custom == nil {
		f.custom = map[string]string{}
	}
	return os.RemoveAll(old)
}

// vet refuses what CoreDNS's parser would do before its result can be looked at: reading
// other files of the node, and its environment. The errors look like the parser's.
func vet(custom map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(custom)) {
		text := custom[key]
		if m := include.FindString(text); m != "" {
			return fmt.Errorf("%s: %s cannot be used: put the records into one key", key, strings.TrimSpace(m))
		}
		if !strings.HasSuffix(key, overrideSuffix) && !strings.HasSuffix(key, serverSuffix) && !importWord.MatchString(text) {
			continue // a zone file, or the like
		}
		d := caddyfile.NewDispenser(key, strings.NewReader(text))
		for imports := false; d.Next(); {
			if strings.Contains(d.Val(), "{$") || strings.Contains(d.Val(), "{%") {
				return d.Errf("'%s': environment variables cannot be used", d.Val())
			}
			before := imports
			if imports = d.Val() == "import"; !before {
				continue
			}
			// No "..": userFolder is a link, and what is above its target is not above it.
			if path := d.Val(); slices.Contains(strings.Split(path, "/"), "..") || !filepath.IsLocal(path) && !within(path, userFolder) {
				return d.Errf("import %s: only keys of the ConfigMap can be imported, as %s/KEY", d.Val(), userFolder)
			}
		}
	}
	return nil
}

var (
	include    = regexp.MustCompile(`(?im)^\s*\$INCLUDE\b.*$`)
	importWord = regexp.MustCompile(`\bimport\b`)
	pluginName = regexp.MustCompile(`^plugin/([a-z0-9_]+): `)
	unknown    = regexp.MustCompile(`Unknown directive '`)
)

// explain makes the parser's error one that an Event can have: with the key in place of the
// file's path, in front if the parser does not say where, and with what can be done.
func explain(err error, custom map[string]string, folder string) string {
	text := strings.ReplaceAll(err.Error(), filepath.Join(folder, customName)+"/", "")
	if unknown.MatchString(text) {
		text += "; there are: " + strings.Join(available(), ", ")
	}
	all := append(keys(custom, overrideSuffix), keys(custom, serverSuffix)...)
	if slices.ContainsFunc(slices.Sorted(maps.Keys(custom)), func(k string) bool { return strings.Contains(text, k+":") }) {
		return text
	}
	suspects := all
	if m := pluginName.FindStringSubmatch(text); m != nil {
		word := regexp.MustCompile(`(?m)(^|[\s{])` + regexp.QuoteMeta(m[1]) + `\b`)
		if using := slices.DeleteFunc(slices.Clone(all), func(k string) bool { return !word.MatchString(custom[k]) }); len(using) > 0 {
			suspects = using
		}
	}
	return strings.Join(suspects, ", ") + ": " + text
}
