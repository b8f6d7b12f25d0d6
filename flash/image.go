package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/upgrade/fat"
)

// headSize is how much of a disk is written last, in bytes: the partition table, and boot
// loaders' first parts.
const headSize = 1 << 20

// Progress is told how far long work is.
type Progress interface {
	// Step begins a step; total is its bytes, 0 when not known.
	Step(name string, total int64)
	// Done says how many bytes of the step are done.
	Done(bytes int64)
}

// Image is a disk image of Keelson's: raw, or compressed with zstd.
type Image struct {
	Path string
	// Size is the length of the disk it holds, in bytes.
	Size       int64
	compressed bool
	head       []byte // the first headSize bytes
	table      *parttable.Table
	gpt        bool
}

// ErrNotImage says that a file is no disk image of Keelson's, or a damaged one.
var ErrNotImage = errors.New("cannot be written to a disk")

// expected is what a user is told in that case.
const expected = `expected what "keelson build" makes: NAME.img, or NAME.img.zst`

// OpenImage checks that a file is a whole image: its partition table, its length, and of a
// compressed one every byte, by the checksums of zstd. Errors that are not the system's
// wrap ErrNotImage.
func OpenImage(ctx context.Context, path string, p Progress) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s %w: it is not a regular file, %s", path, ErrNotImage, expected)
	}
	i := &Image{Path: path, Size: st.Size(), head: make([]byte, headSize)}
	start := make([]byte, 40<<10)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch what := foreign(start[:n]); {
	case bytes.HasPrefix(start[:n], zstdMagic):
		i.compressed = true
	case what != "":
		return nil, fmt.Errorf("%s %w: it is %s, %s", path, ErrNotImage, what, expected)
	case n == 0:
		return nil, fmt.Errorf("%s %w: it is empty, %s", path, ErrNotImage, expected)
	}
	if i.compressed {
		if err := i.checkCompressed(ctx, st.Size(), p); err != nil {
			return nil, err
		}
	}
	r, err := i.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if n, err := r.ReadAt(i.head, 0); n < len(i.head) {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it has only %d bytes, %s", ErrNotImage, i.Size, expected)
		}
		return nil, fmt.Errorf("%s %w", path, err)
	}
	if err := i.checkTable(r); err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return i, nil
}

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// foreign names a file format that is not a raw disk by its first bytes; "" for none of those known.
func foreign(b []byte) string {
	for _, m := range []struct {
		at    int
		magic string
		what  string
	}{
		{0, "\xfd7zXZ\x00", `compressed with xz: unpack it with "xz -d" first`},
		{0, "\x1f\x8b", `compressed with gzip: unpack it with "gzip -d" first`},
		{0, "BZh", `compressed with bzip2: unpack it with "bzip2 -d" first`},
		{0, "PK\x03\x04", "a ZIP archive: unpack it first"},
		{0, "7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"},
		{0, "QFI\xfb", `a qcow2 disk for virtual machines: "qemu-img convert -O raw" makes a raw disk of it`},
		{0, "KDMV", `a VMDK disk for virtual machines: "qemu-img convert -O raw" makes a raw disk of it`},
		{0, "# Disk DescriptorFile", "the description of a VMDK disk for virtual machines"},
		{0, "conectix", `a VHD disk for virtual machines: "qemu-img convert -O raw" makes a raw disk of it`},
		{0, "vhdxfile", `a VHDX disk for virtual machines: "qemu-img convert -O raw" makes a raw disk of it`},
		{0x8001, "CD001", "an ISO image"},
		{257, "ustar", "a tar archive"},
	} {
		if len(b) >= m.at+len(m.magic) && string(b[m.at:m.at+len(m.magic)]) == m.magic {
			return m.what
		}
	}
	return ""
}

// checkCompressed unpacks the whole file to nowhere and sets the size.
func (i *Image) checkCompressed(ctx context.Context, length int64, p Progress) error {
	p.Step("check "+i.Path, length)
	r, err := i.open(func(read int64) { p.Done(read) })
	if err != nil {
		return err
	}
	defer r.Close()
	i.Size, err = io.Copy(io.Discard, &contextReader{ctx, r})
	if err != nil {
		return i.damaged(err)
	}
	return nil
}

// damaged says what an error of the decompressor means.
func (i *Image) damaged(err error) error {
	var pe *os.PathError
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &pe):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s %w: it is cut short: copy or download it again, or build it anew (%w)", i.Path, ErrNotImage, err)
	}
	return fmt.Errorf("%s %w: it is corrupt: copy or download it again, or build it anew (%w)", i.Path, ErrNotImage, err)
}

// checkTable reads the partition table, which must be one of Keelson's, on a disk as long
// as the table says.
func (i *Image) checkTable(r io.ReaderAt) error {
	if i.Size%parttable.SectorSize != 0 {
		return fmt.Errorf("%w: its %d bytes are no whole sectors: is it cut short, or something else? %s", ErrNotImage, i.Size, expected)
	}
	if !i.compressed { // the end of a compressed one would cost unpacking all of it once more
		end := make([]byte, parttable.SectorSize)
		if n, err := r.ReadAt(end, i.Size-int64(len(end))); n < len(end) {
			return fmt.Errorf("read its last sector: %w", err)
		}
		if what := foreign(end); what != "" { // a fixed VHD is a raw disk with one more sector
			return fmt.Errorf("%w: it is %s, %s", ErrNotImage, what, expected)
		}
	}
	var err error
	if i.table, err = parttable.Read(r, i.Size); err != nil {
		return fmt.Errorf("%w: no partition table fits its %d bytes: is it cut short, or something else? %s (%w)", ErrNotImage, i.Size, expected, err)
	}
	if i.table.FromBackup() {
		return fmt.Errorf("%w: the first copy of its partition table is damaged: copy or build it again", ErrNotImage)
	}
	i.gpt = string(i.head[parttable.SectorSize:parttable.SectorSize+8]) == "EFI PART"
	for _, name := range []string{"esp", "root-a", "root-b", "state"} {
		if _, ok := i.table.Find(name); !ok {
			return fmt.Errorf("%w: it is a disk, but none of Keelson's: it has no partition %q, %s", ErrNotImage, name, expected)
		}
	}
	return nil
}

// open returns the disk's content from its start on. read, if not nil, hears how many
// bytes of the file were taken.
func (i *Image) open(read func(int64)) (io.ReadCloser, error) {
	f, err := os.Open(i.Path)
	if err != nil {
		return nil, err
	}
	if !i.compressed {
		return f, nil
	}
	var src io.Reader = f
	if read != nil {
		src = &countingReader{r: f, tell: read}
	}
	// At most 512 MiB of window: more than zstd's own default allows a decoder to accept.
	d, err := zstd.NewReader(src, zstd.WithDecoderMaxWindow(512<<20))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &unpacked{d, f}, nil
}

// unpacked is a decompressor with its file.
type unpacked struct {
	*zstd.Decoder
	f *os.File
}

func (u *unpacked) Close() error {
	u.Decoder.Close()
	return u.f.Close()
}

type countingReader struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// Boot opens the FAT partition for reading. Close the reader when done with the volume.
func (i *Image) Boot() (*fat.Volume, io.Closer, error) {
	r, err := i.Reader()
	if err != nil {
		return nil, nil, err
	}
	n, _ := i.table.Find("esp") // checkTable saw it
	off, size := i.table.Extent(n)
	v, err := fat.Open(io.NewSectionReader(r, off, size), size)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", i.Path, err), r.Close())
	}
	return v, r, nil
}

// Compressed reports whether the file has to be unpacked to be read.
func (i *Image) Compressed() bool { return i.compressed }

// Booted reports whether a node has started from the disk that is in the image.
func (i *Image) Booted() bool {
	n, _ := i.table.Find("state") // checkTable saw it
	return i.table.Life(n) == parttable.Formatted
}

// Reader is an image's content by place.
type Reader interface {
	io.ReaderAt
	io.Closer
}

// Reader opens the image's content by place. Of a compressed image only reads that go
// forward are cheap.
func (i *Image) Reader() (Reader, error) {
	if i.compressed {
		return &forwardReader{open: func() (io.ReadCloser, error) { return i.open(nil) }, explain: i.damaged}, nil
	}
	return os.Open(i.Path)
}

// forwardReader makes places out of a stream: it skips forward, and begins anew to go back.
type forwardReader struct {
	open    func() (io.ReadCloser, error)
	explain func(error) error
	r       io.ReadCloser // nil before the first read
	at      int64
}

func (f *forwardReader) ReadAt(p []byte, off int64) (int, error) {
	if f.r == nil || off < f.at {
		if err := f.Close(); err != nil {
			return 0, err
		}
		r, err := f.open()
		if err != nil {
			return 0, err
		}
		f.r, f.at = r, 0
	}
	n, err := io.CopyN(io.Discard, f.r, off-f.at)
	f.at += n
	if errors.Is(err, io.EOF) {
		return 0, io.EOF
	}
	if err != nil {
		return 0, f.explain(err)
	}
	k := 0
	for k < len(p) {
		n, err := f.r.Read(p[k:])
		k, f.at = k+n, f.at+int64(n)
		if errors.Is(err, io.EOF) && k < len(p) {
			return k, io.EOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return k, f.explain(err)
		}
	}
	return k, nil
}

func (f *forwardReader) Close() error {
	if f.r == nil {
		return nil
	}
	r := f.r
	f.r = nil
	return r.Close()
}
