package bundle

import "errors"

// What callers tell apart. Errors of the reader or writer that was given are wrapped as they are.
var (
	// ErrFormat says that the file is no bundle, is damaged, or has a format that this program does not know.
	ErrFormat = errors.New("not a bundle that can be read")
	// ErrTruncated says that the file is shorter than its header says. Fetch or copy it again.
	ErrTruncated = errors.New("the bundle is cut short")
	// ErrSignature says that the bundle is unsigned, or that its manifest was changed after it was signed.
	ErrSignature = errors.New("the bundle's signature is not valid")
	// ErrUntrusted says that the bundle is signed with a key that is not among the trusted ones.
	ErrUntrusted = errors.New("the bundle is signed with a key that is not trusted")
	// ErrContent says that an artefact is not what the signed manifest and index say.
	ErrContent = errors.New("the bundle's content is damaged")
)
