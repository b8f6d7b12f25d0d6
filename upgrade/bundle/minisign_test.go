package bundle

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMinisignVerifiesWhatWeSign cuts manifest and signature out of a bundle, as docs/bundles.md says.
func TestMinisignVerifiesWhatWeSign(t *testing.T) {
	minisign := reftool.Need(t, "minisign", "minisign")
	dir := t.TempDir()
	_, pub, secret, err := GenerateKey("the lab's")
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParsePrivateKey(secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, map[string][]byte{"x.keelson": write(t, manifest(), sources(), k), "release.pub": pub})
	reftool.Need(t, "jq", "jq")
	out := run(t, dir, "/bin/sh", "-ec", byHand(t))
	if !strings.Contains(out, "Signature and comment signature verified") || strings.Count(out, "-: OK") != 1+len(content) || !strings.Contains(out, "boot/dtb/rockchip/x.dtb\n") {
		t.Errorf("by hand: %s, want the signature, the index and %d artefacts", out, len(content))
	}
	out = run(t, dir, minisign, "-V", "-H", "-p", "release.pub", "-m", "manifest.json")
	if want := "keelson bundle board=pc version=0.2.0 serial=1762077600"; !strings.Contains(out, want) {
		t.Errorf("minisign printed %q, want the trusted comment %q", out, want)
	}
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), bytes.Replace(b, []byte("0.2.0"), []byte("0.3.0"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(minisign, "-V", "-H", "-p", "release.pub", "-m", "manifest.json")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("minisign takes another manifest: %s", out)
	}
}

// byHand returns the commands of docs/bundles.md that cut a bundle apart and check an artefact.
func byHand(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "bundles.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "<!-- tested -->\n```sh\n")
	script, _, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		t.Fatal("docs/bundles.md has no tested script")
	}
	return script
}

// TestKeysAndSignaturesOfMinisignAreTaken has minisign make the key and sign the manifest.
func TestKeysAndSignaturesOfMinisignAreTaken(t *testing.T) {
	minisign := reftool.Need(t, "minisign", "minisign")
	dir := t.TempDir()
	run(t, dir, minisign, "-G", "-W", "-p", "a.pub", "-s", "a.key")
	files := map[string][]byte{}
	for _, name := range []string{"a.pub", "a.key"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	k, err := ParsePrivateKey(files["a.key"], nil)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParsePublicKey(string(files["a.pub"]))
	if err != nil {
		t.Fatal(err)
	}
	if pub.String() != k.Public().String() || !strings.Contains(string(files["a.pub"]), pub.KeyID()) {
		t.Errorf("public key %s with id %s, want that of %s", k.Public(), pub.KeyID(), files["a.pub"])
	}
	h := read(t, write(t, manifest(), sources(), k))
	if _, err := h.Verify([]PublicKey{pub}); err != nil {
		t.Error(err)
	}
	put(t, dir, map[string][]byte{"manifest.json": h.ManifestBytes})
	run(t, dir, minisign, "-S", "-W", "-s", "a.key", "-m", "manifest.json", "-c", "by hand", "-t", "signed by hand")
	if h.Signature, err = os.ReadFile(filepath.Join(dir, "manifest.json.minisig")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify([]PublicKey{pub}); err != nil {
		t.Errorf("Verify of minisign's own signature = %v", err)
	}
}

// TestMinisignSignsWithOurKey takes a secret key file of GenerateKey.
func TestMinisignSignsWithOurKey(t *testing.T) {
	minisign := reftool.Need(t, "minisign", "minisign")
	dir := t.TempDir()
	pub, _, secret, err := GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	h := read(t, write(t, manifest(), sources(), key(t, 0)))
	put(t, dir, map[string][]byte{"our.key": secret, "manifest.json": h.ManifestBytes})
	run(t, dir, minisign, "-S", "-W", "-s", "our.key", "-m", "manifest.json")
	if h.Signature, err = os.ReadFile(filepath.Join(dir, "manifest.json.minisig")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Verify([]PublicKey{pub}); err != nil {
		t.Error(err)
	}
}
