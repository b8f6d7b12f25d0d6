package sbom

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

var nft = pkgs.Package{Name: "nftables", Version: "1:1.1.3-1+b1", Arch: "amd64", Source: "nftables", SourceVersion: "1.1.3-1", SHA256: strings.Repeat("ab", 32)}

// sample returns a root with an entry of each kind and origin; its program is this test.
func sample(t *testing.T) Input {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tr := tree.New()
	for _, err := range []error{
		tr.AddFile("usr/bin/node", 0o755, self, tree.Origin{Kind: tree.Program, Name: "node"}),
		tr.AddLink("usr/bin/kubectl", "node", tree.Origin{Kind: tree.Keelson, Name: "layout"}),
		tr.AddData("usr/sbin/nft", 0o755, []byte("nft"), tree.Origin{Kind: tree.Debian, Name: "nftables"}),
		tr.AddLink("usr/lib/libnftables.so.1", "libnftables.so.1.1.0", tree.Origin{Kind: tree.Debian, Name: "nftables"}),
		tr.AddData("etc/passwd", 0o644, []byte("root"), tree.Origin{Kind: tree.Keelson, Name: "overlay base"}),
		tr.AddData("etc/empty", 0o644, nil, tree.Origin{Kind: tree.Keelson, Name: "overlay base"}),
		tr.AddData("etc/motd", 0o644, []byte("hello"), tree.Origin{Kind: tree.User, Name: "overlay my site"}),
		tr.AddLink("etc/issue", "motd", tree.Origin{Kind: tree.User, Name: "overlay my site"}),
		tr.AddDir("proc", 0o555, tree.Origin{Kind: tree.Keelson, Name: "overlay base"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sums, err := tr.Sums()
	if err != nil {
		t.Fatal(err)
	}
	boot := pkgs.Package{Name: "systemd-boot-efi", Version: "257.13-1~deb13u1", Arch: "amd64", Source: "systemd", SourceVersion: "257.13-1~deb13u1", SHA256: strings.Repeat("cd", 32)}
	return Input{Board: "pc", Version: "1.2.3", Root: tr, Sums: sums, Packages: []pkgs.Package{nft, boot}, Outside: []string{"systemd-boot-efi"}, Epoch: time.Unix(1_700_000_000, 0)}
}

func written(t *testing.T, in Input) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, in); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parsed(t *testing.T, text []byte) document {
	t.Helper()
	var d document
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryEntryOfTheRootIsAccountedFor(t *testing.T) {
	in := sample(t)
	d := parsed(t, written(t, in))
	files := map[string]spdxFile{}
	for _, f := range d.Files {
		files[f.FileName] = f
	}
	n := 0
	for _, e := range in.Root.Entries() {
		if e.Mode.IsDir() {
			continue
		}
		n++
		f, ok := files["./"+e.Path]
		if !ok {
			t.Errorf("%s has no entry", e.Path)
			continue
		}
		if s, ok := in.Sums[e.Path]; ok && f.Checksums[1].Value != hex.EncodeToString(s.SHA256[:]) {
			t.Errorf("%s: sha256 %s, want %x", e.Path, f.Checksums[1].Value, s.SHA256)
		}
		if !slices.Contains(d.Relationships, relationship{imageID, "CONTAINS", f.SPDXID}) {
			t.Errorf("%s is not contained in the image", e.Path)
		}
		if !slices.ContainsFunc(d.Relationships, func(r relationship) bool {
			return r.Element == f.SPDXID && (r.Type == "EXPANDED_FROM_ARCHIVE" || r.Type == "GENERATED_FROM")
		}) {
			t.Errorf("%s comes from nowhere", e.Path)
		}
	}
	if n != len(d.Files) {
		t.Errorf("the document has %d files, the root %d", len(d.Files), n)
	}
}

// TestDocumentHasWhatSPDXRequires checks the fields that SPDX 2.3 makes mandatory, their forms, that
// identifiers are unique and that every relationship leads to one.
func TestDocumentHasWhatSPDXRequires(t *testing.T) {
	text := written(t, sample(t))
	d := parsed(t, text)
	if d.SPDXVersion != "SPDX-2.3" || d.DataLicense != "CC0-1.0" || d.SPDXID != documentID || d.Name == "" {
		t.Errorf("document: %s, %s, %s, %q", d.SPDXVersion, d.DataLicense, d.SPDXID, d.Name)
	}
	if !regexp.MustCompile(`^https://[^#]+$`).MatchString(d.DocumentNamespace) {
		t.Errorf("documentNamespace %q: want a URI without fragment", d.DocumentNamespace)
	}
	if d.CreationInfo.Created != "2023-11-14T22:13:20Z" || !slices.Equal(d.CreationInfo.Creators, []string{"Tool: keelson-1.2.3"}) {
		t.Errorf("creationInfo = %+v", d.CreationInfo)
	}
	ids := map[string]bool{documentID: true}
	idForm := regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)
	add := func(id string) {
		if !idForm.MatchString(id) || ids[id] {
			t.Errorf("identifier %q is malformed or there twice", id)
		}
		ids[id] = true
	}
	for _, p := range d.Packages {
		add(p.SPDXID)
		if p.Name == "" || p.VersionInfo == "" || p.DownloadLocation == "" || p.LicenseConcluded == "" || p.LicenseDeclared == "" || p.CopyrightText == "" {
			t.Errorf("package %s lacks a field: %+v", p.SPDXID, p)
		}
		if p.FilesAnalyzed != (p.VerificationCode != nil) {
			t.Errorf("package %s: a verification code is for packages whose files are listed", p.SPDXID)
		}
	}
	sha1Form, sha256Form := regexp.MustCompile(`^[0-9a-f]{40}$`), regexp.MustCompile(`^[0-9a-f]{64}$`)
	for _, f := range d.Files {
		add(f.SPDXID)
		if !strings.HasPrefix(f.FileName, "./") || f.LicenseConcluded == "" || len(f.LicenseInfoInFiles) == 0 || f.CopyrightText == "" {
			t.Errorf("file %s lacks a field: %+v", f.FileName, f)
		}
		if len(f.Checksums) != 2 || f.Checksums[0].Algorithm != "SHA1" || !sha1Form.MatchString(f.Checksums[0].Value) ||
			f.Checksums[1].Algorithm != "SHA256" || !sha256Form.MatchString(f.Checksums[1].Value) {
			t.Errorf("file %s: checksums %v", f.FileName, f.Checksums)
		}
	}
	for _, r := range d.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("relationship %v leads nowhere", r)
		}
	}
	if !slices.Contains(d.Relationships, relationship{documentID, "DESCRIBES", imageID}) {
		t.Error("the document does not describe the image")
	}
}

func TestPackagesAndModulesHaveVersionsAndURLs(t *testing.T) {
	d := parsed(t, written(t, sample(t)))
	byName := map[string]spdxPackage{}
	for _, p := range d.Packages {
		byName[p.Name] = p
	}
	p := byName["nftables"]
	if p.VersionInfo != nft.Version || p.SourceInfo != "built from the Debian source package nftables 1.1.3-1" ||
		p.ExternalRefs[0].Locator != "pkg:deb/debian/nftables@1%3A1.1.3-1%2Bb1?arch=amd64" || p.Checksums[0].Value != nft.SHA256 {
		t.Errorf("nftables = %+v", p)
	}
	if p := byName["stdlib"]; p.VersionInfo == "" || !strings.HasPrefix(p.ExternalRefs[0].Locator, "pkg:golang/stdlib@1.") {
		t.Errorf("stdlib = %+v", p)
	}
	if _, ok := byName["systemd-boot-efi"]; !ok {
		t.Error("the package outside of the root is not there")
	}
}

// TestModulesAreThoseThatWereLinked covers what go test's own programs do not record.
func TestModulesAreThoseThatWereLinked(t *testing.T) {
	for _, c := range []struct {
		name          string
		module        debug.Module
		path, version string
	}{
		{"plain", debug.Module{Path: "a.example/m/v2", Version: "v2.0.1"}, "a.example/m/v2", "v2.0.1"},
		{"replaced", debug.Module{Path: "a.example/m", Version: "v1.0.0", Replace: &debug.Module{Path: "b.example/fork", Version: "v1.0.1"}}, "b.example/fork", "v1.0.1"},
		{"replaced by a folder", debug.Module{Path: "a.example/m", Version: "v1.0.0", Replace: &debug.Module{Path: "../copy", Version: "(devel)"}}, "a.example/m", "v1.0.0"},
		{"not released", debug.Module{Path: "a.example/m", Version: "(devel)"}, "a.example/m", "1.2.3"},
		{"this repository", debug.Module{Path: keelsonModule, Version: "(devel)"}, "keelson", "1.2.3"},
	} {
		b := &builder{in: Input{Version: "1.2.3"}, packages: map[string]spdxPackage{keelsonID: {Name: "keelson", VersionInfo: "1.2.3"}}}
		p := b.packages[b.module(&c.module)]
		if p.Name != c.path || p.VersionInfo != c.version {
			t.Errorf("%s: got %s %s, want %s %s", c.name, p.Name, p.VersionInfo, c.path, c.version)
		}
	}
}

func TestProgramInsideAnImageIsAccountedFor(t *testing.T) {
	in := sample(t)
	node, ok := in.Root.Get("usr/bin/node")
	if !ok {
		t.Fatal("the sample has no program")
	}
	const image = "usr/share/keelson/images/x.tar"
	if err := in.Root.AddData(image, 0o644, []byte("an archive"), tree.Origin{Kind: tree.Keelson, Name: "image x"}); err != nil {
		t.Fatal(err)
	}
	var err error
	if in.Sums, err = in.Root.Sums(); err != nil {
		t.Fatal(err)
	}
	in.Inside = map[string]string{image: node.File}
	d := parsed(t, written(t, in))
	linked := func(path string) (out []string) {
		for _, r := range d.Relationships {
			if r.Element == "SPDXRef-File-"+hash(path) && r.Type == "STATIC_LINK" {
				out = append(out, r.Related)
			}
		}
		return out
	}
	if got, want := linked(image), linked("usr/bin/node"); len(got) == 0 || !slices.Equal(got, want) {
		t.Errorf("modules of the image = %v, want the program's %v", got, want)
	}
}

func TestDocumentDependsOnTheImageAlone(t *testing.T) {
	one, two := written(t, sample(t)), written(t, sample(t))
	if !bytes.Equal(one, two) {
		t.Error("two documents of one image differ")
	}
}

func TestFilesOfTheUserComeFromWhatTheyGave(t *testing.T) {
	d := parsed(t, written(t, sample(t)))
	i := slices.IndexFunc(d.Packages, func(p spdxPackage) bool { return p.Name == "overlay my site" })
	if i < 0 {
		t.Fatalf("no package for the user's overlay among %+v", d.Packages)
	}
	for _, path := range []string{"etc/motd", "etc/issue"} {
		if !slices.Contains(d.Relationships, relationship{"SPDXRef-File-" + hash(path), "GENERATED_FROM", d.Packages[i].SPDXID}) {
			t.Errorf("%s does not come from the user's overlay", path)
		}
	}
}

func TestWhatCannotBeAccountedForIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		e    tree.Entry
	}{
		{"unknown Debian package", tree.Entry{Path: "x", Origin: tree.Origin{Kind: tree.Debian, Name: "none"}}},
		{"no origin", tree.Entry{Path: "x"}},
		{"program that is not Go's", tree.Entry{Path: "x", Mode: 0o755, Data: []byte("#!/bin/sh"), Origin: tree.Origin{Kind: tree.Program}}},
	} {
		in := sample(t)
		if err := in.Root.Add(c.e); err != nil {
			t.Fatal(err)
		}
		var err error
		if in.Sums, err = in.Root.Sums(); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := Write(&b, in); err == nil || b.Len() > 0 {
			t.Errorf("%s: Write = %v after %d bytes, want an error and nothing written", c.name, err, b.Len())
		}
	}
}
