package fat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	entrySize    = 32
	attrVolume   = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLongName = 0x0f
	endOfChain   = 0x0fffffff
)

// Volume says what the volume is called; all of it ends up in its bytes.
type Volume struct {
	Size   int64     // bytes, a multiple of 512
	Label  string    // up to 11 bytes of upper case letters, digits, "-" and "_"; empty for none
	ID     uint32    // serial number
	Time   time.Time // of every entry, written in UTC; before 1980 counts as 1980
	Hidden uint32    // sectors before the volume on its disk
}

// Write writes a FAT32 volume with the files to w, which must read as zeros over
// [0, v.Size). Content is streamed.
// Errors: ErrFull if the files do not fit, before anything is written; those of w, of
// File.Open and of the content; content shorter or longer than File.Size; ctx.Err.
func Write(ctx context.Context, w io.WriterAt, v Volume, files []File) error {
	if err := checkLabel(v.Label); err != nil {
		return err
	}
	g, err := layout(v.Size)
	if err != nil {
		return err
	}
	root, err := tree(files, v.Label != "")
	if err != nil {
		return err
	}
	dirs, list := order(root)
	next, err := allocate(g, dirs, list)
	if err != nil {
		return err
	}
	if err := writeBoot(w, v, g, next); err != nil {
		return fmt.Errorf("fat: write boot sectors: %w", err)
	}
	if err := writeTables(w, g, append(dirs[:len(dirs):len(dirs)], list...)); err != nil {
		return fmt.Errorf("fat: write allocation tables: %w", err)
	}
	for _, d := range dirs {
		if _, err := w.WriteAt(directory(d, v), g.offset(d.cluster)); err != nil {
			return fmt.Errorf("fat: write directory %q: %w", d.path, err)
		}
	}
	buf := make([]byte, 1<<20)
	for _, f := range list {
		if err := writeFile(ctx, w, g, f, buf); err != nil {
			return fmt.Errorf("fat: write %s: %w", f.path, err)
		}
	}
	return nil
}

func checkLabel(label string) error {
	if len(label) > 11 || strings.Trim(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return fmt.Errorf("fat: label %q: want up to 11 of A-Z, 0-9, - and _", label)
	}
	return nil
}

// writeBoot writes the boot sector, FSInfo and their copies.
func writeBoot(w io.WriterAt, v Volume, g geometry, next uint32) error {
	const infoSector, backupSector = 1, 6
	le := binary.LittleEndian
	b := make([]byte, 2*sectorSize)
	copy(b, "\xeb\x58\x90KEELSON ")
	le.PutUint16(b[11:], sectorSize)
	b[13] = byte(g.sectorsPerCluster)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = 2    // FATs
	b[21] = 0xf8 // fixed disk
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], v.Hidden)
	le.PutUint32(b[32:], g.sectors)
	le.PutUint32(b[36:], g.fatSectors)
	le.PutUint32(b[44:], 2) // root directory's cluster
	le.PutUint16(b[48:], infoSector)
	le.PutUint16(b[50:], backupSector)
	b[64] = 0x80 // BIOS drive
	b[66] = 0x29 // id, label and type follow
	le.PutUint32(b[67:], v.ID)
	label := v.Label
	if label == "" {
		label = "NO NAME"
	}
	copy(b[71:82], label+strings.Repeat(" ", 11))
	copy(b[82:90], "FAT32   ")
	// Booted by a BIOS: int 18h (no bootable device), then halt.
	copy(b[90:], "\xcd\x18\xf4\xeb\xfd")
	b[510], b[511] = 0x55, 0xaa

	info := b[sectorSize:]
	copy(info, "RRaA")
	copy(info[484:], "rrAa")
	le.PutUint32(info[488:], g.clusters-(next-2)) // free clusters
	le.PutUint32(info[492:], next)                // where to look for one
	if next >= g.clusters+2 {
		le.PutUint32(info[492:], 2)
	}
	info[510], info[511] = 0x55, 0xaa

	if _, err := w.WriteAt(b, 0); err != nil {
		return err
	}
	_, err := w.WriteAt(b, backupSector*sectorSize)
	return err
}

// writeTables writes both FATs up to the last cluster in use.
func writeTables(w io.WriterAt, g geometry, nodes []*node) error {
	for n := range int64(2) {
		out := tableWriter{w: w, at: (int64(g.reserved) + n*int64(g.fatSectors)) * sectorSize}
		out.put(0x0ffffff8) // media byte
		out.put(endOfChain) // clean, no errors
		for _, n := range nodes {
			for i := range n.clusters {
				if i == n.clusters-1 {
					out.put(endOfChain)
				} else {
					out.put(n.cluster + i + 1)
				}
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
	}
	return nil
}

// tableWriter collects 32-bit entries and writes them in large pieces.
type tableWriter struct {
	w   io.WriterAt
	at  int64
	buf []byte
	err error
}

func (t *tableWriter) put(v uint32) {
	t.buf = binary.LittleEndian.AppendUint32(t.buf, v)
	if len(t.buf) >= 1<<20 {
		t.err = t.flush()
	}
}

func (t *tableWriter) flush() error {
	if t.err != nil {
		return t.err
	}
	n, err := t.w.WriteAt(t.buf, t.at)
	t.at += int64(n)
	t.buf = t.buf[:0]
	return err
}

// directory returns the entries of d.
func directory(d *node, v Volume) []byte {
	date, clock := timestamp(v.Time)
	le := binary.LittleEndian
	var out []byte
	put := func(name [11]byte, attr byte, cluster uint32, size int64) {
		var e [entrySize]byte
		copy(e[:], name[:])
		e[11] = attr
		le.PutUint16(e[14:], clock)
		le.PutUint16(e[16:], date)
		le.PutUint16(e[18:], date)
		le.PutUint16(e[20:], uint16(cluster>>16))
		le.PutUint16(e[22:], clock)
		le.PutUint16(e[24:], date)
		le.PutUint16(e[26:], uint16(cluster))
		le.PutUint32(e[28:], uint32(size))
		out = append(out, e[:]...)
	}
	if d.parent == nil {
		if v.Label != "" {
			put(label83(v.Label), attrVolume, 0, 0)
		}
	} else {
		put(pad83(".", ""), attrDir, d.cluster, 0)
		up := d.parent.cluster
		if d.parent.parent == nil {
			up = 0 // the root directory counts as cluster 0 here
		}
		put(pad83("..", ""), attrDir, up, 0)
	}
	for _, c := range d.children {
		if c.long {
			out = append(out, longEntries(c.name, c.short)...)
		}
		if c.isDir() {
			put(c.short, attrDir, c.cluster, 0)
		} else {
			put(c.short, attrArchive, c.cluster, c.bytes)
		}
	}
	return out
}

// label83 returns a label as an entry's name: 11 bytes, no field boundary.
func label83(label string) [11]byte {
	var b [11]byte
	copy(b[:], label+strings.Repeat(" ", 11))
	return b
}

// timestamp returns t as FAT date and time, UTC, two-second steps.
func timestamp(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}

// writeFile streams one file's content to its clusters.
func writeFile(ctx context.Context, w io.WriterAt, g geometry, n *node, buf []byte) (err error) {
	r, err := n.file.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	at, left := g.offset(max(n.cluster, 2)), n.bytes
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), left)]
		if _, err := io.ReadFull(r, p); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read content, %d of %d bytes left: %w", left, n.bytes, err)
		}
		if _, err := w.WriteAt(p, at); err != nil {
			return err
		}
		at, left = at+int64(len(p)), left-int64(len(p))
	}
	if m, err := io.ReadFull(r, buf[:1]); m != 0 {
		return fmt.Errorf("content is longer than the %d bytes it was said to have", n.bytes)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
