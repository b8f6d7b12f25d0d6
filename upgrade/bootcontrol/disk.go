package bootcontrol

import "io"

// Disk is a whole disk; all places are bytes from its start. Sync returns when every write before it is on the medium.
// WriteAt may be on the medium later, in any order, until then. Not safe for several goroutines.
// Package upgrade/blockdev has the disk of a Linux node, tests/powercut one whose power is cut.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Size() int64
}

// Invalidator is a Disk that can forget what it keeps in memory of bytes [off, off+n), so that the next read of them is one of the
// medium. Unsynced writes stay.
type Invalidator interface {
	Invalidate(off, n int64) error
}
