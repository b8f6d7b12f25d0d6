package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/upgrade/bundle"
)

// newBundle writes a small bundle, signed with the private key in the file key.
func newBundle(t *testing.T, key string) string {
	t.Helper()
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := bundle.ParsePrivateKey(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.keelson")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Repeat([]byte("root"), 3000)
	m := bundle.Manifest{Board: "pc", Arch: "amd64", Version: "0.2.0", Serial: 1700000000, MinimumSerial: 12, Created: "2026-01-02T03:04:05Z", RootHash: strings.Repeat("ab", 32)}
	err = bundle.Write(f, m, []bundle.Source{{Name: "root", Size: int64(len(root)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(root)), nil }}}, private)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// newKey makes a pair of keys and returns the name without endings.
func newKey(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "release")
	out, _, err := keelson(t, "bundle", "key", "new", name)
	if err != nil || !strings.Contains(out, name+".pub") {
		t.Fatalf("bundle key new = %q, %v", out, err)
	}
	return name
}

func TestKeyNewNeverWritesOverAKey(t *testing.T) {
	name := newKey(t)
	for file, want := range map[string]fs.FileMode{".key": 0o600, ".pub": 0o644} {
		st, err := os.Stat(name + file)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Mode().Perm(); runtime.GOOS != "windows" && got&^want != 0 {
			t.Errorf("%s has mode %o, want %o", file, got, want)
		}
	}
	before, err := os.ReadFile(name + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name + ".key"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keelson(t, "bundle", "key", "new", name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("bundle key new over a public key = %v, want fs.ErrExist", err)
	}
	if after, err := os.ReadFile(name + ".pub"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the public key is another one: %v", err)
	}
	if _, err := os.Stat(name + ".key"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a private key without its public one is left: %v", err)
	}
	if _, _, err := keelson(t, "bundle", "key", "new", name+".key"); err == nil || !strings.Contains(err.Error(), "without its ending") {
		t.Errorf("bundle key new x.key = %v", err)
	}
}

func TestInspectShowsWhatTheBundleSays(t *testing.T) {
	key := newKey(t)
	name := newBundle(t, key+".key")
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	k, err := bundle.ParsePublicKey(string(public))
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := keelson(t, "bundle", "inspect", name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pc (amd64)", "0.2.0", "1700000000 (demands at least 12", k.KeyID(), strings.Repeat("ab", 32), "root", "  12000  "} {
		if !strings.Contains(out, want) {
			t.Errorf("inspect lacks %q:\n%s", want, out)
		}
	}
	if out, _, err = keelson(t, "bundle", "inspect", name, "-o", "json"); err != nil {
		t.Fatal(err)
	}
	var got struct {
		KeyID    string
		Manifest bundle.Manifest
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.KeyID != k.KeyID() || got.Manifest.Serial != 1700000000 || len(got.Manifest.Artefacts) != 1 {
		t.Errorf("inspect -o json = %+v, %v", got, err)
	}
	if out := mustKeelson(t, "bundle", "inspect", name, "-o", "yaml"); !strings.Contains(out, "keyID: "+k.KeyID()+"\n") || !strings.Contains(out, "  serial: 1700000000\n") {
		t.Errorf("inspect -o yaml:\n%s", out)
	}
	refused(t, "expected table, json or yaml", "bundle", "inspect", name, "-o", "xml")
}

func TestVerifyRefusesEveryChange(t *testing.T) {
	key := newKey(t)
	name := newBundle(t, key+".key")
	if out, _, err := keelson(t, "bundle", "verify", name, "--key", newKey(t)+".pub", "--key", key+".pub"); err != nil || !strings.Contains(out, "OK: pc 0.2.0") {
		t.Fatalf("verify = %q, %v", out, err)
	}
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-5000] ^= 1
	for _, c := range []struct {
		what string
		data []byte
		args []string
		want error
	}{
		{"another key", whole, []string{"--key", newKey(t) + ".pub"}, bundle.ErrUntrusted},
		{"no key", whole, nil, nil},
		{"a key that is not there", whole, []string{"--key", "gone.pub"}, fs.ErrNotExist},
		{"a private key", whole, []string{"--key", key + ".key"}, nil},
		{"a flipped bit", flipped, []string{"--key", key + ".pub"}, bundle.ErrContent},
		{"a short file", whole[:len(whole)-4096], []string{"--key", key + ".pub"}, bundle.ErrTruncated},
		{"another file", public(t), []string{"--key", key + ".pub"}, bundle.ErrFormat},
	} {
		file := filepath.Join(t.TempDir(), "y.keelson")
		if err := os.WriteFile(file, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _, err := keelson(t, append([]string{"bundle", "verify", file}, c.args...)...)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || out != "" {
			t.Errorf("verify with %s = %q, %v, want %v", c.what, out, err, c.want)
		}
	}
	if _, _, err := keelson(t, "bundle", "verify", t.TempDir(), "--key", key+".pub"); err == nil {
		t.Error("verify of a folder = nil")
	}
}

// public is some file that is no bundle.
func public(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(newKey(t) + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(data, 100)
}
