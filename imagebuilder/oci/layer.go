package oci

import (
	"bytes"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// layer is the one layer of an image, plain or compressed with zstd.
type layer struct {
	tar, packed    []byte // the same bytes if the layer is plain
	diffID, digest v1.Hash
	mediaType      types.MediaType
}

var _ v1.Layer = (*layer)(nil)

// newLayer returns the layer of a tar. The same tar gives the same bytes: one encoder
// works at it, however many cores there are.
func newLayer(tar []byte, compress bool) (*layer, error) {
	l := &layer{tar: tar, packed: tar, mediaType: types.OCIUncompressedLayer}
	if compress {
		l.mediaType = types.OCILayerZStd
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(true), zstd.WithSingleSegment(false))
		if err != nil {
			return nil, err
		}
		l.packed = enc.EncodeAll(tar, nil)
		if err := enc.Close(); err != nil {
			return nil, err
		}
	}
	var err error
	if l.diffID, _, err = v1.SHA256(bytes.NewReader(l.tar)); err != nil {
		return nil, err
	}
	l.digest, _, err = v1.SHA256(bytes.NewReader(l.packed))
	return l, err
}

func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }
func (l *layer) Size() (int64, error)     { return int64(len(l.packed)), nil }

func (l *layer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.packed)), nil
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.tar)), nil
}
