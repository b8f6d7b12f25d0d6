package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// FAT is a FAT16 or FAT32 file system. Names are looked up without regard to case, as firmware does.
type FAT struct {
	image   io.ReaderAt
	base    int64 // of the partition, bytes
	wide    bool  // FAT32
	cluster int64 // bytes
	data    int64 // of cluster 2, bytes in the partition
	count   uint32
	table   []byte // the first file allocation table
	root    uint32 // FAT32: first cluster of the root
	rootAt  int64  // FAT16: bytes in the partition
	rootLen int64
	unequal bool
}

// ErrNotFAT means that a partition has no file system that this reader, and firmware, would take for FAT16 or FAT32.
var ErrNotFAT = errors.New("no FAT16 or FAT32")

// ErrFolder means that a file was asked for and a folder is there.
var ErrFolder = errors.New("is a folder")

// maxTable bounds the file allocation table: 64 MiB is a FAT32 of 512 GiB with clusters of 32 KiB.
const maxTable = 64 << 20

// OpenFAT opens the file system of a partition. The file allocation tables, the data and the partition must fit each other.
func OpenFAT(image io.ReaderAt, p Partition) (*FAT, error) {
	b := make([]byte, SectorSize)
	if _, err := image.ReadAt(b, p.Start); err != nil {
		return nil, fmt.Errorf("partition %d: boot sector: %w", p.Number, err)
	}
	le := binary.LittleEndian
	refuse := func(format string, args ...any) (*FAT, error) {
		return nil, fmt.Errorf("partition %d: %s: %w", p.Number, fmt.Sprintf(format, args...), ErrNotFAT)
	}
	sector, perCluster, reserved, fats := int64(le.Uint16(b[11:])), int64(b[13]), int64(le.Uint16(b[14:])), int64(b[16])
	if le.Uint16(b[510:]) != 0xAA55 || (b[0] != 0xEB && b[0] != 0xE9) {
		return refuse("no signature or jump in the boot sector")
	}
	if sector != SectorSize || perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || fats == 0 || fats > 2 {
		return refuse("%d bytes a sector, %d sectors a cluster, %d reserved sectors, %d tables", sector, perCluster, reserved, fats)
	}
	rootLen := int64(le.Uint16(b[17:])) * 32
	total, tableSectors := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	f := &FAT{image: image, base: p.Start, cluster: perCluster * sector}
	if tableSectors == 0 {
		f.wide, tableSectors, f.root = true, int64(le.Uint32(b[36:])), le.Uint32(b[44:])
	}
	f.rootAt, f.rootLen = (reserved+fats*tableSectors)*sector, rootLen
	f.data = f.rootAt + (rootLen+sector-1)/sector*sector
	if total*sector > p.Size || f.data >= total*sector || tableSectors*sector > maxTable {
		return refuse("%d sectors, data from byte %d on, in a partition of %d bytes", total, f.data, p.Size)
	}
	f.count = uint32((total*sector - f.data) / f.cluster)
	// The number of clusters alone decides the kind (specification, "FAT type determination").
	if f.wide != (f.count >= 65525) || f.count < 4085 {
		return refuse("%d clusters", f.count)
	}
	width := int64(2)
	if f.wide {
		width = 4
	}
	if (int64(f.count)+2)*width > tableSectors*sector {
		return refuse("%d clusters in a table of %d sectors", f.count, tableSectors)
	}
	f.table = make([]byte, tableSectors*sector)
	other := make([]byte, len(f.table))
	for i := range fats {
		into := f.table
		if i > 0 {
			into = other
		}
		if _, err := image.ReadAt(into, p.Start+(reserved+i*tableSectors)*sector); err != nil {
			return nil, fmt.Errorf("partition %d: allocation table: %w", p.Number, err)
		}
	}
	f.unequal = fats == 2 && !bytes.Equal(f.table, other)
	return f, nil
}

// Unequal says whether the two allocation tables differ, as between two writes. Firmware and boot loaders read the first;
// checkers complain.
func (f *FAT) Unequal() bool { return f.unequal }

// Unequal is the fault of a disk whose allocation tables differ.
const Unequal = "the two allocation tables differ"

// Lasting returns the faults without Unequal, which a power cut between two writes leaves, and with which firmware boots all the same.
func Lasting(faults []string) []string {
	return slices.DeleteFunc(slices.Clone(faults), func(f string) bool { return f == Unequal })
}

// FAT32 says whether it is FAT32; else it is FAT16.
func (f *FAT) FAT32() bool { return f.wide }

// next returns the cluster behind c; ok is false at the end of the chain.
func (f *FAT) next(c uint32) (n uint32, ok bool, err error) {
	end := uint32(0xFFF8)
	if f.wide {
		n, end = binary.LittleEndian.Uint32(f.table[4*c:])&0x0FFFFFFF, 0x0FFFFFF8
	} else {
		n = uint32(binary.LittleEndian.Uint16(f.table[2*c:]))
	}
	if n >= end {
		return 0, false, nil
	}
	if n < 2 || n >= f.count+2 {
		return 0, false, fmt.Errorf("cluster %d is followed by %#x", c, n)
	}
	return n, true, nil
}

// chain reads the clusters from c on: size bytes, or all of them when size is negative.
func (f *FAT) chain(c uint32, size int64) ([]byte, error) {
	if size == 0 && c == 0 {
		return nil, nil
	}
	if c < 2 || c >= f.count+2 {
		return nil, fmt.Errorf("starts at cluster %d of %d", c, f.count)
	}
	if size > int64(f.count)*f.cluster {
		return nil, fmt.Errorf("%d bytes in a file system of %d", size, int64(f.count)*f.cluster)
	}
	out := make([]byte, 0, max(size, 0))
	for steps := uint32(0); ; steps++ {
		if steps == f.count {
			return nil, errors.New("its clusters go round in a circle")
		}
		n := f.cluster
		if size >= 0 {
			n = min(n, size-int64(len(out)))
		} else if len(out) > 2<<20 {
			return nil, errors.New("is a folder of more than 65536 entries")
		}
		at := len(out)
		out = slices.Grow(out, int(n))[:at+int(n)]
		if _, err := f.image.ReadAt(out[at:], f.base+f.data+int64(c-2)*f.cluster); err != nil {
			return nil, err
		}
		following, ok, err := f.next(c)
		if err != nil {
			return nil, err
		}
		if int64(len(out)) == size {
			if ok {
				return nil, errors.New("has more clusters than its size needs")
			}
			return out, nil
		}
		if !ok {
			if size < 0 {
				return out, nil
			}
			return nil, fmt.Errorf("%d of %d bytes are there: %w", len(out), size, io.ErrUnexpectedEOF)
		}
		c = following
	}
}

// entry is a file or folder.
type entry struct {
	name    string // long name, else the short one
	short   string
	folder  bool
	size    int64
	cluster uint32
}

func (f *FAT) folder(dir entry) ([]entry, error) {
	var raw []byte
	var err error
	if dir.cluster == 0 { // the root; also what ".." of a folder in the root says
		if f.wide {
			raw, err = f.chain(f.root, -1)
		} else {
			raw = make([]byte, f.rootLen)
			_, err = f.image.ReadAt(raw, f.base+f.rootAt)
		}
	} else {
		raw, err = f.chain(dir.cluster, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("folder %q: %w", dir.name, err)
	}
	return entries(raw), nil
}

func (f *FAT) find(name string) (entry, error) {
	at := entry{name: "/", folder: true}
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			continue
		}
		if !at.folder {
			return entry{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		list, err := f.folder(at)
		if err != nil {
			return entry{}, err
		}
		found := false
		for _, e := range list {
			if strings.EqualFold(e.name, part) || strings.EqualFold(e.short, part) {
				at, found = e, true
				break
			}
		}
		if !found {
			return entry{}, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// file looks a file up. Errors: fs.ErrNotExist; ErrFolder.
func (f *FAT) file(name string) (entry, error) {
	e, err := f.find(name)
	if err == nil && e.folder {
		err = fmt.Errorf("%s: %w", name, ErrFolder)
	}
	return e, err
}

// Size returns a file's size in bytes. Errors: fs.ErrNotExist; ErrFolder.
func (f *FAT) Size(name string) (int64, error) {
	e, err := f.file(name)
	return e.size, err
}

// Has says whether there is such a file.
func (f *FAT) Has(name string) bool {
	_, err := f.Size(name)
	return err == nil
}

// ReadFile returns a file's content. Errors: fs.ErrNotExist; ErrFolder; a chain of clusters that is not as long as the file.
func (f *FAT) ReadFile(name string) ([]byte, error) {
	e, err := f.file(name)
	if err != nil {
		return nil, err
	}
	data, err := f.chain(e.cluster, e.size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// List returns the names of the files in a folder, without its folders, in the folder's order. Errors: fs.ErrNotExist.
func (f *FAT) List(dir string) ([]string, error) {
	e, err := f.find(dir)
	if err != nil {
		return nil, err
	}
	list, err := f.folder(e)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range list {
		if !e.folder {
			names = append(names, e.name)
		}
	}
	return names, nil
}
