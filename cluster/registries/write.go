package registries

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
)

const (
	hostsFile = "hosts.toml"
	// mark is the first line of our files, and tells our folders from the user's.
	mark = "# Written by Keelson from the registries of the machine configuration. Changes are lost.\n"
)

// write makes the folders of certs.d that we wrote be those of hosts. Files that are
// right already are not touched; folders of others are left alone, unless one has the
// name of a host.
func write(dir string, hosts []host) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, h := range hosts {
		keep[h.dir()] = true
		if err := writeFolder(filepath.Join(dir, h.dir()), h.files(filepath.Join(dir, h.dir()))); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || keep[e.Name()] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), hostsFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.HasPrefix(text, []byte(mark)) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// writeFolder makes a folder hold exactly these files. hosts.toml, which refers to the
// others, is written after them.
func writeFolder(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(files))
	slices.SortStableFunc(names, func(a, b string) int {
		switch {
		case a == hostsFile:
			return 1
		case b == hostsFile:
			return -1
		}
		return 0
	})
	for _, name := range names {
		// In one step, and readable by root only: it may be a key.
		if err := pki.WriteFile(filepath.Join(dir, name), []byte(files[name]), 0o600); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := files[e.Name()]; !ok {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// files is the content of the host's folder, which will be dir: hosts.toml and the PEM
// texts that were written in the configuration itself.
func (h host) files(dir string) map[string]string {
	files := map[string]string{}
	var b strings.Builder
	b.WriteString(mark)
	if h.server.url != "" {
		fmt.Fprintf(&b, "server = %s\n", quote(h.server.url))
	}
	// What is above the first [host] is about the server.
	h.server.describe(&b, "", dir, "server", files)
	header(&b, "header", h.server)
	for i, e := range h.endpoints {
		fmt.Fprintf(&b, "\n[host.%s]\n", quote(e.url))
		e.describe(&b, "  ", dir, fmt.Sprintf("host%d", i), files)
		header(&b, "host."+quote(e.url)+".header", e)
	}
	files[hostsFile] = b.String()
	return files
}

// describe writes the keys of one endpoint. Its PEM texts become files of that name in dir.
func (e endpoint) describe(b *strings.Builder, indent, dir, name string, files map[string]string) {
	line := func(format string, args ...any) { fmt.Fprintf(b, indent+format+"\n", args...) }
	line(`capabilities = ["pull", "resolve"]`)
	if e.override {
		line("override_path = true")
	}
	if e.tls == nil {
		return
	}
	file := func(path, text, suffix string) string {
		if text == "" {
			return path
		}
		files[name+suffix] = text
		return filepath.Join(dir, name+suffix)
	}
	ca := file(e.tls.CAFile, e.tls.CA, "-ca.pem")
	cert, key := file(e.tls.CertFile, e.tls.Cert, "-cert.pem"), file(e.tls.KeyFile, e.tls.Key, "-key.pem")
	if ca != "" {
		line("ca = [%s]", quote(ca))
	}
	if cert != "" {
		line("client = [[%s, %s]]", quote(cert), quote(key))
	}
	if e.tls.InsecureSkipVerify {
		line("skip_verify = true")
	}
}

// header writes an endpoint's header table. It must follow the endpoint's own keys.
func header(b *strings.Builder, table string, e endpoint) {
	if len(e.header) == 0 {
		return
	}
	fmt.Fprintf(b, "[%s]\n", table)
	for _, name := range slices.Sorted(maps.Keys(e.header)) {
		fmt.Fprintf(b, "  %s = %s\n", quote(name), quote(e.header.Get(name)))
	}
}

// quote is a TOML basic string. Package config lets no control characters through; they
// are escaped all the same.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// pems returns the PEM texts of t, read from its files where it names them.
func pems(t *config.RegistryTLS) (ca, cert, key []byte, err error) {
	read := func(path, text string) []byte {
		if text != "" || path == "" || err != nil {
			return []byte(text)
		}
		var data []byte
		data, err = os.ReadFile(path)
		return data
	}
	ca, cert, key = read(t.CAFile, t.CA), read(t.CertFile, t.Cert), read(t.KeyFile, t.Key)
	return ca, cert, key, err
}
