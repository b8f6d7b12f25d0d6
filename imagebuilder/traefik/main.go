// Command traefik (of the builder, not the ingress controller) prepares the compile of Traefik.
//
// Traefik links lego, and lego links a client library for each of its 200 DNS providers, for
// certificates by the ACME DNS challenge. Module proxies refuse to serve some of these
// libraries, and Go needs all sources of what it links. So this program copies lego from the
// module cache and takes those providers out of its list: asked for one of them, Traefik says
// so by name. All the others are as lego made them.
//
//	go run . FOLDER
//
// FOLDER then holds the copy in lego/, and go.mod and go.sum for "go build -modfile".
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// lego is the module that is copied.
const lego = "github.com/go-acme/lego/v5"

// registry is lego's list of providers, relative to the module.
const registry = "providers/dns/zz_gen_dns_providers.go"

// refused are the providers whose libraries the module proxy does not serve.
var refused = []string{
	"alidns", "aliesa", "azion", "dnsimple", "edgedns", "edgeone", "huaweicloud", "oraclecloud",
	"regfish", "sakuracloud", "tencentcloud", "ucloud", "yandexcloud",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run . FOLDER")
		os.Exit(2)
	}
	if err := prepare(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "prepare Traefik's sources:", err)
		os.Exit(1)
	}
}

// prepare fills dir, unless it is as it would be.
func prepare(dir string) error {
	source, err := module(lego)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(source, filepath.FromSlash(registry)))
	if err != nil {
		return err
	}
	edited, err := without(string(text), refused)
	if err != nil {
		return fmt.Errorf("%s: %w", registry, err)
	}
	target := filepath.Join(dir, "lego")
	// The copy is named by its registry: no other file of it is edited.
	if old, err := os.ReadFile(filepath.Join(target, filepath.FromSlash(registry))); err != nil || string(old) != edited {
		if err := os.RemoveAll(target); err != nil {
			return err
		}
		if err := copySources(target, source, refused); err != nil {
			return err
		}
		// Last, so that a copy cut short is made again.
		if err := os.WriteFile(filepath.Join(target, filepath.FromSlash(registry)), []byte(edited), 0o644); err != nil {
			return err
		}
	}
	return modfile(dir, target)
}

// module returns the folder of a module of go.mod, fetched and compared with go.sum.
func module(name string) (string, error) {
	var stderr strings.Builder
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", name)
	if err := exec.Command("go", "mod", "download", name).Run(); err != nil {
		return "", fmt.Errorf("go mod download %s: %w", name, err)
	}
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// without returns lego's registry without the providers names: their imports are gone, and
// their cases return an error that names the provider.
func without(text string, names []string) (string, error) {
	for _, name := range names {
		imported := "\t\"" + lego + "/providers/dns/" + name + "\"\n"
		used := "\t\treturn " + name + ".NewDNSProvider()\n"
		if strings.Count(text, imported) != 1 || strings.Count(text, used) != 1 {
			return "", fmt.Errorf("provider %s: want one import and one use of it; has lego changed?", name)
		}
		text = strings.Replace(text, imported, "", 1)
		text = strings.Replace(text, used, "\t\treturn nil, fmt.Errorf(\"the DNS provider %s is not part of Keelson's Traefik: use Traefik's own image for it (image.repository)\", name)\n", 1)
	}
	return text, nil
}

// copySources copies the Go files and what they embed from the module at source to target,
// without tests, the registry and the packages of refused providers.
func copySources(target, source string, refused []string) error {
	skip := map[string]bool{registry: true}
	for _, name := range refused {
		skip[path.Join("providers/dns", name)] = true
	}
	return filepath.WalkDir(source, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		to := filepath.Join(target, rel)
		switch name := d.Name(); {
		case d.IsDir() && (skip[filepath.ToSlash(rel)] || name == "testdata" || name == "fixtures" || rel == "docs" || rel == "e2e" || rel == "cmd" || strings.HasPrefix(name, ".") && rel != "."):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case skip[filepath.ToSlash(rel)] || strings.HasSuffix(name, "_test.go") || !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
}

// modfile writes go.mod and go.sum of this module to dir, with lego at target.
func modfile(dir, target string) error {
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		return err
	}
	text, err := os.ReadFile("go.mod")
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	if target, err = filepath.Abs(target); err != nil {
		return err
	}
	// Relative to this module, as paths in a file given to -modfile are: the program records it.
	rel, err := filepath.Rel(here, target)
	if err != nil {
		return err
	}
	added := fmt.Sprintf("\nreplace %s => %s\n", lego, filepath.ToSlash(rel))
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "go.mod"), append(text, added...), 0o644),
		os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644),
	)
}
