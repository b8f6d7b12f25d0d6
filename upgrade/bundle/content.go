package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
)

// VerifyAll reads all of the bundle in r behind h, in order, and returns nil if each byte is what h says. With Verify before it,
// the whole file is what was signed.
// Errors: ErrContent names the first block that is wrong; ErrTruncated; those of r; ctx.Err.
func VerifyAll(ctx context.Context, r io.ReaderAt, h *Header) error {
	list := h.Manifest.Artefacts
	if len(list) == 0 {
		return fmt.Errorf("%w: no artefacts", ErrFormat)
	}
	end := fixedSize + int64(len(h.ManifestBytes)+len(h.Signature)+len(h.Index))
	gap := make([]byte, align(end)-end)
	if _, err := readAt(r, gap, end); err != nil {
		return fmt.Errorf("read behind the bundle's index: %w", err)
	}
	if len(bytes.Trim(gap, "\x00")) != 0 {
		return fmt.Errorf("%w: want zeros from byte %d to %d", ErrContent, end, align(end))
	}
	buf := make([]byte, 256*blockSize)
	for _, a := range list {
		if err := verifyArtefact(ctx, r, h, a, buf); err != nil {
			return fmt.Errorf("artefact %s: %w", a.Name, err)
		}
	}
	return nil
}

func verifyArtefact(ctx context.Context, r io.ReaderAt, h *Header, a Artefact, buf []byte) error {
	whole := sha256.New()
	want := h.Index[a.Index:][:a.blocks()*hashSize]
	for done := int64(0); done < a.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(align(a.Size-done), int64(len(buf)))]
		if _, err := readAt(r, p, a.Offset+done); err != nil {
			return err
		}
		content := p[:min(a.Size-done, int64(len(p)))]
		for i, got := 0, appendHashes(nil, p); i < len(got); i += hashSize {
			if !bytes.Equal(got[i:i+hashSize], want[i:i+hashSize]) {
				at := int64(i) / hashSize * blockSize
				return fmt.Errorf("%w: block of %d bytes at %d of the file", ErrContent, blockSize, a.Offset+done+at)
			}
		}
		// The index could have been made over other bytes than zeros.
		if len(bytes.Trim(p[len(content):], "\x00")) != 0 {
			return fmt.Errorf("%w: want zeros behind its %d bytes", ErrContent, a.Size)
		}
		whole.Write(content)
		want = want[len(p)/blockSize*hashSize:]
		done += int64(len(p))
	}
	if hexSum(whole) != a.SHA256 {
		return fmt.Errorf("%w: it has not the SHA-256 that the manifest gives, and its blocks are those of the index", ErrContent)
	}
	return nil
}
