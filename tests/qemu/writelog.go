package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// writesName is the log of a machine with Config.RecordWrites, in its folder.
const writesName = "writes.log"

// Written is one thing that a machine did to its disk.
type Written struct {
	Kind   WriteKind
	Offset int64 // bytes on the disk; KindFlush: 0
	Length int64 // bytes; KindFlush: 0
	Data   int64 // KindWrite: where the bytes are in the log
	// FUA says that the write was on the medium when it was answered.
	FUA bool
}

// WriteKind is what was done.
type WriteKind int

// The kinds. A discarded range reads as anything afterwards, here as before.
const (
	KindWrite WriteKind = iota
	KindDiscard
	KindFlush
)

// WriteLog is the record of everything a machine wrote to its disk, in order. A write may reach the medium in any order
// among those between two flushes.
//
// The format is that of Linux' dm-log-writes, which QEMU's block driver blklogwrites writes: a superblock in the first sector, then
// entries of one sector, each followed by its data. Numbers are little endian.
// Source: Linux, drivers/md/dm-log-writes.c; QEMU, block/blklogwrites.c.
type WriteLog struct {
	*os.File
	Entries []Written
}

const (
	writesMagic   = 0x6a736677736872
	writesVersion = 1
	writesSector  = 512 // as we ask for

	flagFlush   = 1
	flagFUA     = 2
	flagDiscard = 4
)

// Writes reads the machine's log as it is now: more may follow. Close it.
func (m *Machine) Writes() (*WriteLog, error) {
	f, err := os.Open(m.path(writesName))
	if err != nil {
		return nil, err
	}
	entries, err := readWrites(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return &WriteLog{f, entries}, nil
}

// readWrites lists the entries that are whole.
func readWrites(r io.ReaderAt) ([]Written, error) {
	le := binary.LittleEndian
	head := make([]byte, writesSector)
	if _, err := r.ReadAt(head, 0); errors.Is(err, io.EOF) {
		return nil, nil // QEMU writes the superblock at the first flush
	} else if err != nil {
		return nil, err
	}
	if magic, version, sector := le.Uint64(head), le.Uint64(head[8:]), le.Uint32(head[24:]); magic != writesMagic || version != writesVersion || sector != writesSector {
		return nil, fmt.Errorf("magic %#x, version %d, sectors of %d bytes: want %#x, %d and %d", magic, version, sector, writesMagic, writesVersion, writesSector)
	}
	var out []Written
	for at := int64(writesSector); ; {
		_, err := r.ReadAt(head, at)
		if errors.Is(err, io.EOF) {
			return out, nil // the last one is still being written
		}
		if err != nil {
			return nil, err
		}
		at += writesSector
		sector, sectors, flags := le.Uint64(head), le.Uint64(head[8:]), le.Uint64(head[16:])
		if flags&^15 != 0 || sectors > 1<<31 || sector > 1<<40 {
			return out, nil // not written yet
		}
		w := Written{Offset: int64(sector) * writesSector, Length: int64(sectors) * writesSector, Data: at, FUA: flags&flagFUA != 0}
		if flags&flagFlush != 0 {
			out = append(out, Written{Kind: KindFlush})
		}
		switch {
		case flags&flagDiscard != 0:
			w.Kind, w.Data = KindDiscard, 0
			out = append(out, w)
		case sectors > 0:
			if at+w.Length > 0 {
				if _, err := r.ReadAt(make([]byte, 1), at+w.Length-1); errors.Is(err, io.EOF) {
					return out, nil
				}
			}
			at += w.Length
			out = append(out, w)
		}
	}
}
