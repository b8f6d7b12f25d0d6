package apply

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// verifyWhole checks that the slot has the bundle's boot files and no others, and the SHA-256 of the whole bundle if one was given.
func (j *job) verifyWhole(ctx context.Context) error {
	there, err := j.node.BootFiles(j.slot)
	if err != nil {
		return fmt.Errorf("boot files of slot %s: %w", j.slot, err)
	}
	if d := differ(j.h.Manifest.Artefacts, there); d != "" {
		return fmt.Errorf("%w: boot files of slot %s: %s", ErrReadBack, j.slot, d)
	}
	if j.o.SHA256 == "" {
		return nil
	}
	got, err := j.wholeSum(ctx)
	if err != nil {
		return err
	}
	if want := strings.ToLower(j.o.SHA256); got != want {
		// Nobody asked for this system: leave nothing that could be committed.
		err := fmt.Errorf("%w: %s, asked for was %s; nothing was armed", ErrChecksum, got, want)
		if e := j.node.RemoveBootFiles(j.slot); e != nil {
			err = fmt.Errorf("%w (and its boot files could not be removed: %w)", err, e)
		}
		return err
	}
	return nil
}

// wholeSum returns the SHA-256 of the bundle file, in hexadecimal: of its header, and of the artefacts as they are on the disk. What is
// between them in the file is zeros by its format.
func (j *job) wholeSum(ctx context.Context) (string, error) {
	h := sha256.New()
	const fixed = 64 // package bundle: then manifest, signature and index follow each other
	if _, err := j.src.ReadAt(j.block[:fixed], 0); err != nil {
		return "", fmt.Errorf("header of the bundle: %w", noEOF(err))
	}
	for _, b := range [][]byte{j.block[:fixed], j.h.ManifestBytes, j.h.Signature, j.h.Index} {
		h.Write(b)
	}
	at := int64(fixed + len(j.h.ManifestBytes) + len(j.h.Signature) + len(j.h.Index))
	all := append([]artefact{j.root}, j.boot...)
	slices.SortFunc(all, func(a, b artefact) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, a := range all {
		zeros(h, a.Offset-at)
		r, err := j.onDisk(a)
		if err != nil {
			return "", err
		}
		bad, err := j.compare(ctx, io.TeeReader(r, h), a, func(int64) {})
		if err != nil {
			return "", fmt.Errorf("read %s back: %w", a.Name, err)
		}
		if bad != allRight {
			return "", fmt.Errorf("%w: %s has changed since it was read back", ErrReadBack, a.Name)
		}
		at = a.Offset + a.Size
	}
	zeros(h, j.src.Size()-at)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// onDisk is an artefact as it is on the disk.
func (j *job) onDisk(a artefact) (io.Reader, error) {
	if a.Name == rootName {
		at, _ := j.node.Root(j.slot)
		return io.NewSectionReader(j.s.Disk, at, a.Size), nil
	}
	r, size, err := j.node.OpenBootFile(j.slot, strings.TrimPrefix(a.Name, bootPrefix))
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(r, 0, size), nil
}

// zeros writes n zeros.
func zeros(h hash.Hash, n int64) {
	var block [blockSize]byte
	for ; n > 0; n -= blockSize {
		h.Write(block[:min(n, blockSize)])
	}
}
