// Package sbom writes the software bill of materials of an image: SPDX 2.3 as JSON. Every file
// and symbolic link of the root is in it, with its digests and what it comes from: a Debian package at a
// version, Go modules (read from the programs themselves), or this repository.
//
// How SPDX's terms are used:
//
//   - The document describes one package, the image. It contains every file; its verification
//     code covers them all. Directories have no content and no entry; SPDX has none for them.
//   - A symbolic link is a file whose content is its target; a comment says so.
//   - A file of Debian's is EXPANDED_FROM_ARCHIVE its package; generated files are GENERATED_FROM Keelson.
//   - A program is GENERATED_FROM its main module, and STATIC_LINKs every module in it; so does
//     the archive of a container image that a program is in.
//   - A file that the user added is GENERATED_FROM a package that stands for what was given, "overlay site".
//   - A package that the image has outside of the root (boot loader) is CONTAINed by the image.
//   - Licences are NOASSERTION: they are in the packages' own sources, and not guessed here.
//
// Times are the package lock's epoch, the namespace is made of the content's digest: the same
// image gives the same bytes.
//
// Source: SPDX Specification 2.3, clauses 6 (creation), 7 (package), 8 (file), 11 (relationship).
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// Input is an image to describe.
type Input struct {
	Board   string
	Version string // Keelson's
	Root    *tree.Tree
	Sums    map[string]tree.Sum // Root.Sums()
	// Packages are the Debian packages that Root's files may come from.
	Packages []pkgs.Package
	// Outside names those that the image has outside of the root.
	Outside []string
	// Inside are the Go programs in container images: path of the image in Root to the program's file.
	Inside map[string]string
	Epoch  time.Time
}

// The parts of an SPDX document that we write, in the order of the specification.
type document struct {
	SPDXVersion       string         `json:"spdxVersion"`
	DataLicense       string         `json:"dataLicense"`
	SPDXID            string         `json:"SPDXID"`
	Name              string         `json:"name"`
	DocumentNamespace string         `json:"documentNamespace"`
	CreationInfo      creationInfo   `json:"creationInfo"`
	DocumentDescribes []string       `json:"documentDescribes"`
	Packages          []spdxPackage  `json:"packages"`
	Files             []spdxFile     `json:"files"`
	Relationships     []relationship `json:"relationships"`
}

type creationInfo struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	Name             string            `json:"name"`
	SPDXID           string            `json:"SPDXID"`
	VersionInfo      string            `json:"versionInfo,omitempty"`
	Supplier         string            `json:"supplier,omitempty"`
	DownloadLocation string            `json:"downloadLocation"`
	FilesAnalyzed    bool              `json:"filesAnalyzed"`
	VerificationCode *verificationCode `json:"packageVerificationCode,omitempty"`
	Checksums        []checksum        `json:"checksums,omitempty"`
	SourceInfo       string            `json:"sourceInfo,omitempty"`
	LicenseConcluded string            `json:"licenseConcluded"`
	LicenseInfoFiles []string          `json:"licenseInfoFromFiles,omitempty"`
	LicenseDeclared  string            `json:"licenseDeclared"`
	CopyrightText    string            `json:"copyrightText"`
	ExternalRefs     []externalRef     `json:"externalRefs,omitempty"`
	Purpose          string            `json:"primaryPackagePurpose,omitempty"`
}

type verificationCode struct {
	Value string `json:"packageVerificationCodeValue"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxFile struct {
	FileName           string     `json:"fileName"`
	SPDXID             string     `json:"SPDXID"`
	FileTypes          []string   `json:"fileTypes"`
	Checksums          []checksum `json:"checksums"`
	LicenseConcluded   string     `json:"licenseConcluded"`
	LicenseInfoInFiles []string   `json:"licenseInfoInFiles"`
	CopyrightText      string     `json:"copyrightText"`
	Comment            string     `json:"comment,omitempty"`
}

type relationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const (
	documentID = "SPDXRef-DOCUMENT"
	imageID    = "SPDXRef-Image"
	keelsonID  = "SPDXRef-Keelson"
	unknown    = "NOASSERTION"
)

// Write writes in's document.
func Write(w io.Writer, in Input) error {
	b := &builder{in: in, packages: map[string]spdxPackage{}}
	if err := b.build(); err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	return enc.Encode(b.doc)
}

type builder struct {
	in       Input
	doc      document
	packages map[string]spdxPackage // by SPDXID
}

func (b *builder) build() error {
	name := fmt.Sprintf("keelson-%s-%s", b.in.Board, b.in.Version)
	digest := b.in.Root.Digest(b.in.Sums)
	b.doc = document{
		SPDXVersion: "SPDX-2.3", DataLicense: "CC0-1.0", SPDXID: documentID, Name: name,
		CreationInfo:      creationInfo{Created: b.in.Epoch.UTC().Format("2006-01-02T15:04:05Z"), Creators: []string{"Tool: keelson-" + b.in.Version}},
		DocumentDescribes: []string{imageID},
	}
	b.packages[keelsonID] = spdxPackage{Name: "keelson", SPDXID: keelsonID, VersionInfo: b.in.Version, Purpose: "OPERATING-SYSTEM"}
	var errs []error
	for _, e := range b.in.Root.Entries() {
		if e.Mode.IsDir() {
			continue
		}
		errs = append(errs, b.file(&e))
	}
	for _, name := range b.in.Outside {
		id, err := b.debian(name)
		errs = append(errs, err)
		b.relate(imageID, "CONTAINS", id)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.packages[imageID] = spdxPackage{Name: name, SPDXID: imageID, VersionInfo: b.in.Version, FilesAnalyzed: true,
		VerificationCode: &verificationCode{b.verification()}, LicenseInfoFiles: []string{unknown}, Purpose: "OPERATING-SYSTEM"}
	b.relate(documentID, "DESCRIBES", imageID)
	b.finish()
	// Two images may have one root and differ in what is around it, so the packages count as well.
	h := sha256.New()
	h.Write(digest[:])
	for _, p := range b.doc.Packages {
		fmt.Fprintf(h, "%s %s\n", p.Name, p.VersionInfo)
	}
	b.doc.DocumentNamespace = fmt.Sprintf("https://github.com/keelson-os/keelson/spdx/%s-%x", purlEscape(name), h.Sum(nil)[:16])
	return nil
}

// finish brings the lists into their order.
func (b *builder) finish() {
	for _, p := range b.packages {
		p.DownloadLocation, p.LicenseConcluded, p.LicenseDeclared, p.CopyrightText = unknown, unknown, unknown, unknown
		b.doc.Packages = append(b.doc.Packages, p)
	}
	slices.SortFunc(b.doc.Packages, func(x, y spdxPackage) int { return strings.Compare(x.SPDXID, y.SPDXID) })
	slices.SortFunc(b.doc.Relationships, func(x, y relationship) int {
		return cmp.Or(strings.Compare(x.Element, y.Element), strings.Compare(x.Type, y.Type), strings.Compare(x.Related, y.Related))
	})
	b.doc.Relationships = slices.Compact(b.doc.Relationships)
}

func (b *builder) relate(element, kind, related string) {
	b.doc.Relationships = append(b.doc.Relationships, relationship{element, kind, related})
}

// verification returns the image's package verification code: the SHA-1 of all files' SHA-1s in
// hex, sorted. Source: SPDX 2.3, clause 7.9.
func (b *builder) verification() string {
	var sums []string
	for _, f := range b.doc.Files {
		sums = append(sums, f.Checksums[0].Value)
	}
	slices.Sort(sums)
	h := sha1.Sum([]byte(strings.Join(sums, "")))
	return hex.EncodeToString(h[:])
}

// file adds an entry that is no directory.
func (b *builder) file(e *tree.Entry) error {
	id := "SPDXRef-File-" + hash(e.Path)
	f := spdxFile{FileName: "./" + e.Path, SPDXID: id, FileTypes: []string{"OTHER"}, LicenseConcluded: unknown,
		LicenseInfoInFiles: []string{unknown}, CopyrightText: unknown}
	switch e.Mode.Type() {
	case 0:
		s, ok := b.in.Sums[e.Path]
		if !ok {
			return fmt.Errorf("%s: no digest", e.Path)
		}
		f.Checksums = []checksum{{"SHA1", hex.EncodeToString(s.SHA1[:])}, {"SHA256", hex.EncodeToString(s.SHA256[:])}}
		if e.Mode.Perm()&0o111 != 0 || strings.HasSuffix(e.Path, ".ko.xz") || strings.Contains(e.Path, ".so") {
			f.FileTypes = []string{"BINARY"}
		}
	case fs.ModeSymlink:
		s1, s256 := sha1.Sum([]byte(e.Link)), sha256.Sum256([]byte(e.Link))
		f.Checksums = []checksum{{"SHA1", hex.EncodeToString(s1[:])}, {"SHA256", hex.EncodeToString(s256[:])}}
		f.Comment = "symbolic link to " + e.Link
	default:
		return fmt.Errorf("%s: a %s cannot be in a root", e.Path, e.Mode.Type())
	}
	b.doc.Files = append(b.doc.Files, f)
	b.relate(imageID, "CONTAINS", id)
	return b.origin(e, id)
}

// origin adds where e, whose SPDX identifier is id, comes from.
func (b *builder) origin(e *tree.Entry, id string) error {
	switch e.Origin.Kind {
	case tree.Debian:
		p, err := b.debian(e.Origin.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
		b.relate(id, "EXPANDED_FROM_ARCHIVE", p)
		return nil
	case tree.Program:
		return b.program(e, id)
	case tree.Keelson:
		b.relate(id, "GENERATED_FROM", keelsonID)
		if program, ok := b.in.Inside[e.Path]; ok {
			return b.program(&tree.Entry{Path: e.Path, File: program}, id)
		}
		return nil
	case tree.User:
		b.relate(id, "GENERATED_FROM", b.user(e.Origin.Name, &b.doc.Files[len(b.doc.Files)-1]))
		return nil
	}
	return fmt.Errorf("%s: unknown origin %q", e.Path, e.Origin.Kind)
}

// debian adds the Debian package name and returns its identifier.
func (b *builder) debian(name string) (string, error) {
	i := slices.IndexFunc(b.in.Packages, func(p pkgs.Package) bool { return p.Name == name })
	if i < 0 {
		return "", fmt.Errorf("package %s of Debian is not among the image's", name)
	}
	p := b.in.Packages[i]
	id := ident("Debian", p.Name)
	b.packages[id] = spdxPackage{
		Name: p.Name, SPDXID: id, VersionInfo: p.Version, Supplier: "Organization: Debian",
		Checksums:  []checksum{{"SHA256", p.SHA256}},
		SourceInfo: fmt.Sprintf("built from the Debian source package %s %s", p.Source, p.SourceVersion),
		ExternalRefs: []externalRef{{"PACKAGE-MANAGER", "purl",
			fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", purlEscape(p.Name), purlEscape(p.Version), p.Arch)}},
	}
	return id, nil
}

// user adds the package of what a user gave and returns its identifier. Its version is a digest of the image's files that
// come from it, of which f is the next.
func (b *builder) user(name string, f *spdxFile) string {
	id := ident("User", name)
	b.packages[id] = spdxPackage{Name: name, SPDXID: id, VersionInfo: hash(b.packages[id].VersionInfo + f.FileName + f.Checksums[1].Value),
		SourceInfo: "added by whoever built the image"}
	return id
}

// program adds a Go program's modules.
func (b *builder) program(e *tree.Entry, id string) error {
	info, err := readBuildInfo(e)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	b.relate(id, "GENERATED_FROM", b.module(&info.Main))
	b.relate(id, "STATIC_LINK", b.module(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}))
	for _, m := range info.Deps {
		b.relate(id, "STATIC_LINK", b.module(m))
	}
	return nil
}

func readBuildInfo(e *tree.Entry) (*debug.BuildInfo, error) {
	if e.File != "" {
		return buildinfo.ReadFile(e.File)
	}
	return buildinfo.Read(bytes.NewReader(e.Data))
}

// keelsonModule is this repository's module.
const keelsonModule = "github.com/keelson-os/keelson"

// module adds a Go module and returns its identifier.
func (b *builder) module(m *debug.Module) string {
	if r := m.Replace; r != nil && r.Version != "" && r.Version != "(devel)" { // else a folder with a copy of the module
		m = r
	}
	if m.Path == keelsonModule {
		return keelsonID
	}
	version := m.Version
	if version == "" || version == "(devel)" {
		version = b.in.Version // of a nested module of this repository
	}
	id := ident("Go", m.Path+"@"+version)
	p := spdxPackage{Name: m.Path, SPDXID: id, VersionInfo: version}
	p.ExternalRefs = []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + purlPath(m.Path) + "@" + purlEscape(version)}}
	b.packages[id] = p
	return id
}

// notIdent is what an SPDX identifier must not have in it.
var notIdent = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// ident makes an SPDX identifier of name that people can read and that no other name has.
func ident(kind, name string) string {
	clean := notIdent.ReplaceAllString(name, "-")
	if clean != name {
		clean += "-" + hash(name)[:8]
	}
	return "SPDXRef-" + kind + "-" + clean
}

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:10])
}

// purlEscape percent-encodes everything but unreserved characters.
func purlEscape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func purlPath(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = purlEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
