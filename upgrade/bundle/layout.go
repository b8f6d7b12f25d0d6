package bundle

import "fmt"

const (
	magic     = "KEELSONB"
	fixedSize = 64   // bytes before the manifest
	blockSize = 4096 // what an entry of the index is of, and what artefacts are aligned to
	hashSize  = 16   // an entry of the index

	manifestMax  = 1 << 20
	signatureMax = 4 << 10
	indexMax     = 64 << 20
	artefactsMax = 256
	// contentMax is what the index has room for.
	contentMax = indexMax / hashSize * blockSize
)

// align rounds n up to whole blocks.
func align(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// headerSize is where the first artefact is, by the lengths of manifest, signature and index.
func headerSize(manifest, signature, index int64) int64 {
	return align(fixedSize + manifest + signature + index)
}

// place gives each artefact its place in a file with a header of so many bytes, by their sizes. It returns the lengths
// of the index and of the whole file. Errors: ErrFormat.
func place(list []Artefact, header int64) (index, total int64, err error) {
	if len(list) == 0 || len(list) > artefactsMax {
		return 0, 0, fmt.Errorf("%w: %d artefacts, want 1 to %d", ErrFormat, len(list), artefactsMax)
	}
	total = header
	for i := range list {
		a := &list[i]
		if a.Size < 1 {
			return 0, 0, fmt.Errorf("%w: artefact %.80q has %d bytes, want 1 or more", ErrFormat, a.Name, a.Size)
		}
		if a.Size > contentMax || total-header+align(a.Size) > contentMax {
			return 0, 0, fmt.Errorf("%w: with artefact %.80q of %d bytes it has more than %d", ErrFormat, a.Name, a.Size, int64(contentMax))
		}
		a.Offset, a.Index = total, index
		total += align(a.Size)
		index += a.blocks() * hashSize
	}
	return index, total, nil
}
