package fat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// badCluster marks one that must not be used.
const badCluster = 0x0ffffff7

// maxDepth bounds folders inside of folders.
const maxDepth = 32

// usage is which clusters the entries of a volume have.
type usage struct {
	v    *Volume
	used []bool
	// visit, if set, sees every folder.
	visit func(d *directory) error
}

// usage goes over all folders. Errors: a folder that cannot be read. Chains of files count as far as they are sound.
func (v *Volume) usage() (*usage, error) {
	u := &usage{v: v, used: make([]bool, v.end)}
	return u, u.folder("", 0, 0)
}

func (u *usage) folder(name string, first uint32, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: %s: folders lie %d deep", ErrFormat, name, depth)
	}
	d, err := u.v.folder(name, first)
	if err != nil {
		return err
	}
	for _, c := range d.clusters {
		if u.used[c] {
			return fmt.Errorf("%w: %s has cluster %d, which is another's", ErrFormat, d.name, c)
		}
		u.used[c] = true
	}
	if u.visit != nil {
		if err := u.visit(d); err != nil {
			return err
		}
	}
	for _, e := range d.entries() {
		if e.isDir() {
			if e.first == 0 {
				return fmt.Errorf("%w: folder %s/%s has no cluster", ErrFormat, name, e.name)
			}
			if err := u.folder(strings.TrimPrefix(name+"/"+e.name, "/"), e.first, depth+1); err != nil {
				return err
			}
			continue
		}
		for _, c := range u.v.prefix(e.first) {
			u.used[c] = true
		}
	}
	return nil
}

// Heal removes what a power cut in the middle of a change leaves behind (see the package's documentation), but two names for one
// chain: whose change it was has to choose. Where nothing is to heal nothing is written. When a folder cannot be read the error
// wraps ErrFormat and nothing was freed.
func (v *Volume) Heal() error {
	if v.w == nil {
		return ErrReadOnly
	}
	u := &usage{v: v, used: make([]bool, v.end)}
	u.visit = v.tidy
	if err := u.folder("", 0, 0); err != nil {
		return err
	}
	for c := uint32(2); c < v.end; c++ {
		if n := v.next(c); n != 0 && n != badCluster && !u.used[c] {
			v.set(c, 0)
		}
	}
	changed := false
	now := make([]byte, v.tableLen)
	for i := range v.tables {
		at := v.tableAt + int64(i)*v.tableLen
		if err := readFull(v.r, now, at); err != nil {
			return fmt.Errorf("read FAT %d: %w", i+1, err)
		}
		for s := int64(0); s < v.tableLen; s += sectorSize {
			b := v.table[s:][:sectorSize]
			if bytes.Equal(b, now[s:][:sectorSize]) {
				continue
			}
			changed = true
			if _, err := v.w.WriteAt(b, at+s); err != nil {
				return fmt.Errorf("write FAT %d: %w", i+1, err)
			}
		}
	}
	if changed {
		if err := v.sync(); err != nil {
			return err
		}
	}
	return v.writeInfo()
}

// tidy removes long entries without a short one, and of two entries of one name the second, which nobody finds.
func (v *Volume) tidy(d *directory) error {
	list, orphans := d.parse()
	seen := map[string]bool{}
	for _, e := range list {
		key := strings.ToUpper(e.name)
		if seen[key] {
			d.b[e.at] = entryFree
			for k := e.from; k < e.at; k += entrySize {
				orphans = append(orphans, k)
			}
		}
		seen[key] = true
	}
	if err := v.writeFolder(d); err != nil {
		return err
	}
	for _, at := range orphans {
		d.b[at] = entryFree
	}
	return v.writeFolder(d)
}

// writeInfo writes the count of free clusters, a hint that checkers compare, where it is not right.
func (v *Volume) writeInfo() error {
	if v.infoAt == 0 {
		return nil
	}
	s := make([]byte, sectorSize)
	if err := readFull(v.r, s, v.infoAt); err != nil {
		return fmt.Errorf("read the FSInfo sector: %w", err)
	}
	free, first := v.count()
	le := binary.LittleEndian
	if le.Uint32(s[488:]) == free && le.Uint32(s[492:]) == first {
		return nil
	}
	le.PutUint32(s[488:], free)
	le.PutUint32(s[492:], first)
	if _, err := v.w.WriteAt(s, v.infoAt); err != nil {
		return fmt.Errorf("write the FSInfo sector: %w", err)
	}
	return v.sync()
}
