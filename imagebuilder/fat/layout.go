package fat

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
)

// ErrFull is wrapped by the error for files that do not fit in the volume.
var ErrFull = errors.New("volume is full")

// File is a file or directory to write.
type File struct {
	Path string // slash-separated, without leading slash; parent directories are made
	Size int64  // bytes; below 4 GiB, the limit of the format
	// Open returns the content, Size bytes of it. It is called once, in path order of
	// all files, and closed. nil makes a directory.
	Open func() (io.ReadCloser, error)
}

// node is a file or directory in the tree.
type node struct {
	name     string
	path     string
	file     *File // nil for a directory
	children []*node
	parent   *node
	short    [11]byte
	long     bool
	cluster  uint32 // first; 0 for an empty file
	clusters uint32
	bytes    int64 // content; for a directory its entries
}

func (n *node) isDir() bool { return n.file == nil }

// tree returns the root of the files' tree, names checked and short names assigned.
func tree(files []File, label bool) (*node, error) {
	root := &node{}
	dirs := map[string]*node{"": root}
	// Names are compared as FAT does, without case.
	seen := map[string]string{}
	add := func(n *node) error {
		if err := checkName(n.name); err != nil {
			return fmt.Errorf("fat: %s: %w", n.path, err)
		}
		key := strings.ToUpper(n.path)
		if other, ok := seen[key]; ok {
			return fmt.Errorf("fat: %q and %q are one name on FAT", other, n.path)
		}
		seen[key] = n.path
		n.parent.children = append(n.parent.children, n)
		return nil
	}
	var mkdir func(p string) (*node, error)
	mkdir = func(p string) (*node, error) {
		if d, ok := dirs[p]; ok {
			return d, nil
		}
		dir, name := split(p)
		parent, err := mkdir(dir)
		if err != nil {
			return nil, err
		}
		d := &node{name: name, path: p, parent: parent}
		if err := add(d); err != nil {
			return nil, err
		}
		dirs[p] = d
		return d, nil
	}

	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for i := range sorted {
		f := &sorted[i]
		if f.Path == "" || path.Clean(f.Path) != f.Path || path.IsAbs(f.Path) {
			return nil, fmt.Errorf("fat: path %q: want a clean relative path", f.Path)
		}
		if f.Open == nil {
			if _, err := mkdir(f.Path); err != nil {
				return nil, err
			}
			continue
		}
		if f.Size < 0 || f.Size > math.MaxUint32 {
			return nil, fmt.Errorf("fat: %s: %d bytes; a file on FAT32 is smaller than 4 GiB", f.Path, f.Size)
		}
		dir, name := split(f.Path)
		parent, err := mkdir(dir)
		if err != nil {
			return nil, err
		}
		if err := add(&node{name: name, path: f.Path, parent: parent, file: f, bytes: f.Size}); err != nil {
			return nil, err
		}
	}

	for _, d := range dirs {
		slices.SortFunc(d.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
		names := shortNames{}
		entries := 2 // "." and ".."
		if d == root {
			entries = 0
			if label {
				entries = 1
			}
		}
		for _, c := range d.children {
			var err error
			if c.short, c.long, err = names.assign(c.name); err != nil {
				return nil, fmt.Errorf("fat: %s: %w", c.path, err)
			}
			entries++
			if c.long {
				entries += len(longEntries(c.name, c.short)) / entrySize
			}
		}
		if entries > 65536 {
			return nil, fmt.Errorf("fat: directory %q: %d entries, at most 65536", d.path, entries)
		}
		d.bytes = int64(entries) * entrySize
	}
	return root, nil
}

// split returns directory ("" for none) and name of a clean relative path.
func split(p string) (dir, name string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

// order returns all directories, then all files, each in path order, depth first.
func order(root *node) (dirs, files []*node) {
	var walk func(n *node)
	walk = func(n *node) {
		dirs = append(dirs, n)
		for _, c := range n.children {
			if c.isDir() {
				walk(c)
			} else {
				files = append(files, c)
			}
		}
	}
	walk(root)
	return dirs, files
}

// geometry is where things are, in sectors of 512 bytes.
type geometry struct {
	sectors           uint32
	sectorsPerCluster uint32
	reserved          uint32
	fatSectors        uint32 // of one FAT
	clusters          uint32 // data clusters; numbered [2, clusters+2)
}

const (
	sectorSize = 512
	// minClusters: a volume with fewer clusters is FAT16 to every driver.
	minClusters = 65525
	maxClusters = 0x0ffffff5 - 2
	// MinSize is the smallest volume, bytes: FAT32 needs 65525 clusters.
	MinSize = 34 << 20
)

// layout returns the geometry of a volume of size bytes. Cluster sizes are those of
// mkfs.fat, for the same speed: 512 bytes up to 260 MB, 4 KiB up to 8 GB, ….
func layout(size int64) (geometry, error) {
	g := geometry{sectors: uint32(size / sectorSize)}
	if size%sectorSize != 0 || size < MinSize || size/sectorSize > math.MaxUint32 {
		return g, fmt.Errorf("fat: volume of %d bytes: want a multiple of %d, at least %d, below 2 TiB", size, sectorSize, MinSize)
	}
	switch {
	case size <= 260<<20:
		g.sectorsPerCluster = 1
	case size <= 8<<30:
		g.sectorsPerCluster = 8
	case size <= 16<<30:
		g.sectorsPerCluster = 16
	case size <= 32<<30:
		g.sectorsPerCluster = 32
	default:
		g.sectorsPerCluster = 64
	}
	// One FAT entry per cluster and two reserved ones; the FAT itself takes room, so
	// this is a bound from above.
	const entries = sectorSize / 4
	g.fatSectors = (g.sectors/g.sectorsPerCluster + 2 + entries - 1) / entries
	g.reserved = 32
	const aligned = 4096 / sectorSize
	if rest := (g.reserved + 2*g.fatSectors) % aligned; rest != 0 {
		g.reserved += aligned - rest
	}
	g.clusters = (g.sectors - g.dataStart()) / g.sectorsPerCluster
	if g.clusters < minClusters || g.clusters > maxClusters {
		return g, fmt.Errorf("fat: volume of %d bytes has %d clusters: want [%d, %d)", size, g.clusters, minClusters, maxClusters)
	}
	return g, nil
}

func (g geometry) dataStart() uint32   { return g.reserved + 2*g.fatSectors }
func (g geometry) clusterBytes() int64 { return int64(g.sectorsPerCluster) * sectorSize }

// offset returns the byte offset of a cluster.
func (g geometry) offset(cluster uint32) int64 {
	return int64(g.dataStart())*sectorSize + int64(cluster-2)*g.clusterBytes()
}

// allocate gives every node its clusters, in order, and returns the first free one.
// Its error wraps ErrFull.
func allocate(g geometry, dirs, files []*node) (uint32, error) {
	next := int64(2)
	for _, list := range [][]*node{dirs, files} {
		for _, n := range list {
			count := (n.bytes + g.clusterBytes() - 1) / g.clusterBytes()
			if n.isDir() {
				count = max(count, 1)
			}
			if count > 0 {
				n.cluster, n.clusters = uint32(min(next, math.MaxUint32)), uint32(count)
			}
			next += count
		}
	}
	if used := next - 2; used > int64(g.clusters) {
		return 0, fmt.Errorf("fat: %w: the files need %d bytes, the volume has room for %d", ErrFull, used*g.clusterBytes(), int64(g.clusters)*g.clusterBytes())
	}
	return uint32(next), nil
}

// Fit returns the smallest multiple of step bytes, at least start, that holds the files
// and leaves free bytes unused.
func Fit(files []File, start, step, free int64) (int64, error) {
	root, err := tree(files, true)
	if err != nil {
		return 0, err
	}
	dirs, list := order(root)
	for size := start; ; {
		g, err := layout(size)
		if err != nil {
			return 0, err
		}
		next, err := allocate(g, dirs, list)
		if err == nil && int64(g.clusters-(next-2))*g.clusterBytes() >= free {
			return size, nil
		}
		if err != nil && !errors.Is(err, ErrFull) {
			return 0, err
		}
		size = (size/step + 1) * step
	}
}
