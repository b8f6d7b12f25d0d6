package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	sectorSize = 512
	entrySize  = 32

	// MaxFile bounds a file that is read or written as a whole, in bytes.
	MaxFile = 4 << 20
	// maxTable bounds the allocation table in memory, in bytes: 4 Mi clusters, which is a
	// volume of 16 GiB with clusters of 4 KiB.
	maxTable = 16 << 20
	// minClusters: a volume with fewer clusters is FAT12 or FAT16 to every driver.
	minClusters = 65525
	// maxDirectory is what the format allows of a folder, in bytes: 65536 entries.
	maxDirectory = 65536 * entrySize

	clusterMask = 0x0fffffff
	endOfChain  = 0x0ffffff8 // this and above
)

var (
	// ErrFormat says that the volume is no FAT32 file system, or a damaged one.
	ErrFormat = errors.New("not a sound FAT32 file system")
	// ErrFull says that the volume has no room for a file.
	ErrFull = errors.New("the FAT partition is full")
	// ErrReadOnly says that the volume was opened for reading.
	ErrReadOnly = errors.New("the FAT partition was opened for reading only")
)

// Disk is a volume that can be changed. Sync must not return before the writes are on the
// medium.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Volume is an open FAT32 file system. It is not safe for concurrent use, and nobody else
// may have it mounted.
type Volume struct {
	r io.ReaderAt
	w Disk // nil: only reading

	cluster  int64  // bytes
	tableAt  int64  // byte where the first FAT is
	tables   int    // how many there are
	tableLen int64  // bytes of one
	data     int64  // byte where cluster 2 is
	end      uint32 // first cluster number that does not exist
	root     uint32 // first cluster of the root directory
	infoAt   int64  // byte of FSInfo; 0: none
	table    []byte // the first FAT
}

// Open reads the layout of a volume of size bytes. The error wraps ErrFormat, or is r's.
// If r is a Disk the volume can be changed.
func Open(r io.ReaderAt, size int64) (*Volume, error) {
	b := make([]byte, sectorSize)
	if err := readFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("read the FAT partition's boot sector: %w", err)
	}
	le := binary.LittleEndian
	bytesPerSector, perCluster := le.Uint16(b[11:]), b[13]
	reserved, tables := le.Uint16(b[14:]), b[16]
	total, perTable := le.Uint32(b[32:]), le.Uint32(b[36:])
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return nil, fmt.Errorf("%w: its first sector ends in %x, want 55aa", ErrFormat, b[510:])
	case bytesPerSector != sectorSize:
		return nil, fmt.Errorf("%w: sectors of %d bytes, want %d", ErrFormat, bytesPerSector, sectorSize)
	case perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || tables == 0 || tables > 4:
		return nil, fmt.Errorf("%w: %d sectors per cluster, %d reserved, %d tables", ErrFormat, perCluster, reserved, tables)
	case le.Uint16(b[17:]) != 0 || le.Uint16(b[22:]) != 0 || perTable == 0:
		return nil, fmt.Errorf("%w: it is FAT12 or FAT16", ErrFormat)
	case int64(total)*sectorSize > size:
		return nil, fmt.Errorf("%w: %d sectors in a partition of %d bytes", ErrFormat, total, size)
	case le.Uint16(b[40:])&0x80 != 0:
		return nil, fmt.Errorf("%w: its tables are not mirrored", ErrFormat)
	}
	v := &Volume{
		r: r, cluster: int64(perCluster) * sectorSize, tableAt: int64(reserved) * sectorSize,
		tables: int(tables), tableLen: int64(perTable) * sectorSize, root: le.Uint32(b[44:]) & clusterMask,
	}
	v.w, _ = r.(Disk)
	v.data = v.tableAt + int64(tables)*v.tableLen
	clusters := (int64(total)*sectorSize - v.data) / v.cluster
	if clusters < minClusters || clusters+2 > v.tableLen/4 || clusters+2 > clusterMask-0xf {
		return nil, fmt.Errorf("%w: %d clusters, its tables have room for %d", ErrFormat, clusters, v.tableLen/4)
	}
	v.end = uint32(clusters + 2)
	if v.tableLen > maxTable {
		return nil, fmt.Errorf("the FAT partition has %d clusters: more than this program handles (%d)", clusters, maxTable/4)
	}
	v.table = make([]byte, v.tableLen)
	if err := readFull(r, v.table, v.tableAt); err != nil {
		return nil, fmt.Errorf("read the FAT: %w", err)
	}
	if info := le.Uint16(b[48:]); info != 0 && info < reserved {
		s := make([]byte, sectorSize)
		if err := readFull(r, s, int64(info)*sectorSize); err != nil {
			return nil, fmt.Errorf("read the FAT partition's FSInfo sector: %w", err)
		}
		if le.Uint32(s) == infoLead && le.Uint32(s[484:]) == infoStruct {
			v.infoAt = int64(info) * sectorSize
		}
	}
	return v, nil
}

// Signatures of the FSInfo sector.
const (
	infoLead   = 0x41615252
	infoStruct = 0x61417272
)

func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// exists reports whether there is a cluster of that number.
func (v *Volume) exists(cluster uint32) bool { return cluster >= 2 && cluster < v.end }

// offset returns the byte where a cluster lies.
func (v *Volume) offset(cluster uint32) int64 { return v.data + int64(cluster-2)*v.cluster }

func (v *Volume) next(cluster uint32) uint32 {
	return binary.LittleEndian.Uint32(v.table[4*cluster:]) & clusterMask
}

// set changes an entry of the table in memory; writeTables writes it.
func (v *Volume) set(cluster, value uint32) {
	e := v.table[4*cluster:]
	binary.LittleEndian.PutUint32(e, binary.LittleEndian.Uint32(e)&^clusterMask|value)
}

// chain returns the clusters from first on. At most limit bytes are followed, and no more
// clusters than there are, so a chain that bites its own tail ends in ErrFormat.
func (v *Volume) chain(first uint32, limit int64) ([]uint32, error) {
	var list []uint32
	for c := first; ; {
		if !v.exists(c) {
			return nil, fmt.Errorf("%w: a chain leads to cluster %d, there are 2 to %d", ErrFormat, c, v.end-1)
		}
		if int64(len(list))*v.cluster >= limit || len(list) >= int(v.end) {
			return nil, fmt.Errorf("%w: the chain from cluster %d has more than %d bytes", ErrFormat, first, limit)
		}
		list = append(list, c)
		if c = v.next(c); c >= endOfChain {
			return list, nil
		}
	}
}

// read returns the content of clusters.
func (v *Volume) read(clusters []uint32) ([]byte, error) {
	b := make([]byte, int64(len(clusters))*v.cluster)
	for _, r := range v.runs(clusters) {
		if err := readFull(v.r, b[int64(r.at)*v.cluster:][:int64(r.n)*v.cluster], v.offset(r.first)); err != nil {
			return nil, fmt.Errorf("read %d clusters from %d on: %w", r.n, r.first, err)
		}
	}
	return b, nil
}

// run is n clusters in a row: number at of a chain is cluster first.
type run struct {
	at, n int
	first uint32
}

// maxPiece bounds what is read or written at once, in bytes, where a cluster is not larger.
const maxPiece = 1 << 20

// runs returns a chain in pieces that lie together.
func (v *Volume) runs(clusters []uint32) []run {
	most := max(1, int(maxPiece/v.cluster))
	var out []run
	for i, c := range clusters {
		if l := len(out) - 1; l >= 0 && out[l].n < most && out[l].first+uint32(out[l].n) == c {
			out[l].n++
			continue
		}
		out = append(out, run{i, 1, c})
	}
	return out
}
