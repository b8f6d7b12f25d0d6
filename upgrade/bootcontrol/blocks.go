package bootcontrol

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/keelson-os/keelson/upgrade/bootcontrol/grubenv"
	"github.com/keelson-os/keelson/upgrade/bootcontrol/ubootenv"
)

// values are the variables of a block of boot state.
type values map[string]string

// blockStore is where a boot loader has its blocks. A damaged block reads as nil. Writes are synced.
type blockStore interface {
	read(which block) (values, error)
	write(which block, v ...variable) error
}

// variable is one of a block, of either format.
type variable struct{ Name, Value string }

// block is one of the three blocks of boot state.
type block int

const (
	committedBlock block = iota
	committedCopy        // read when the first one is damaged
	trialBlock
)

// valuesOf returns a block's variables; nil, with an error, those of a damaged one.
func valuesOf[V ~struct{ Name, Value string }](list []V, err error) values {
	if err != nil {
		return nil
	}
	v := values{}
	for _, x := range list {
		x := variable(x)
		v[x.Name] = x.Value
	}
	return v
}

// variablesOf returns variables as those of a format.
func variablesOf[V ~struct{ Name, Value string }](list []variable) []V {
	var out []V
	for _, x := range list {
		out = append(out, V(x))
	}
	return out
}

// blockLoader is a boot loader that decides by the blocks of boot state (packages ubootenv and grubenv).
type blockLoader struct{ blockStore }

// committed returns what the boot loader takes for committed; gen is "" when both blocks are damaged: no trial counts then.
func (l blockLoader) committed() (slot Slot, gen string, err error) {
	for _, which := range []block{committedBlock, committedCopy} {
		v, err := l.read(which)
		if err != nil {
			return "", "", err
		}
		if s := Slot(v["ab_default"]); s.Valid() == nil {
			return s, v["ab_gen"], nil
		}
	}
	return A, "", nil
}

func (l blockLoader) state() (State, error) {
	slot, gen, err := l.committed()
	if err != nil {
		return State{}, err
	}
	s := State{Default: slot}
	v, err := l.read(trialBlock)
	if err != nil {
		return State{}, err
	}
	try := Slot(v["ab_try"])
	if gen == "" || v["ab_tgen"] != gen || try.Valid() != nil || try == slot {
		return s, nil
	}
	s.Trial = try
	if left := v["ab_left"]; left == "1" || left == "2" || left == "3" {
		s.TriesLeft = int(left[0] - '0')
	}
	s.TriesDone = Tries - s.TriesLeft
	return s, nil
}

// arm writes the trial block: one with the committed block's generation.
func (l blockLoader) arm(slot Slot) error {
	current, gen, err := l.committed()
	if err == nil && gen == "" {
		if err = l.commit(current); err == nil {
			_, gen, err = l.committed()
		}
	}
	if err != nil {
		return err
	}
	return l.write(trialBlock, variable{Name: "ab_try", Value: string(slot)}, variable{Name: "ab_left", Value: strconv.Itoa(Tries)}, variable{Name: "ab_tgen", Value: gen})
}

// commit writes the committed block and then its copy, with a generation that no block has: so every trial ends.
// While the first one is written the copy must say what it said.
func (l blockLoader) commit(slot Slot) error {
	var seen []string
	var all [3]values
	for which := range all {
		v, err := l.read(block(which))
		if err != nil {
			return err
		}
		all[which] = v
		seen = append(seen, v["ab_gen"], v["ab_tgen"])
	}
	first, second := all[committedBlock], all[committedCopy]
	if Slot(first["ab_default"]).Valid() == nil && !sameCommitted(first, second) {
		if err := l.write(committedCopy, variable{Name: "ab_default", Value: first["ab_default"]}, variable{Name: "ab_gen", Value: first["ab_gen"]}); err != nil {
			return err
		}
	}
	gen := nextGeneration(seen)
	for _, which := range []block{committedBlock, committedCopy} {
		if err := l.write(which, variable{Name: "ab_default", Value: string(slot)}, variable{Name: "ab_gen", Value: gen}); err != nil {
			return err
		}
	}
	return nil
}

func sameCommitted(a, b values) bool {
	return a["ab_default"] == b["ab_default"] && a["ab_gen"] == b["ab_gen"]
}

func (l blockLoader) settled(slot Slot) (bool, error) {
	s, err := l.state()
	if err != nil {
		return false, err
	}
	first, err := l.read(committedBlock)
	if err != nil {
		return false, err
	}
	second, err := l.read(committedCopy)
	return Slot(first["ab_default"]) == slot && first["ab_gen"] != "" && sameCommitted(first, second) && s.Trial == "", err
}

// nextGeneration returns a number that is none of those seen: the next one, or when they come to an end a small one.
func nextGeneration(seen []string) string {
	var most uint64
	for _, s := range seen {
		if n, err := strconv.ParseUint(s, 10, 31); err == nil {
			most = max(most, n)
		}
	}
	if most >= 1<<31-2 {
		most = 0
	}
	for {
		most++
		if s := strconv.FormatUint(most, 10); !slices.Contains(seen, s) {
			return s
		}
	}
}

// readSectors reads bytes of the bootstate area.
func readSectors(d Disk, sector, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := d.ReadAt(b, sector*sectorSize); got < len(b) {
		return nil, fmt.Errorf("boot control: read %d bytes of the boot state at sector %d: %w", n, sector, err)
	}
	return b, nil
}

// writeSectors writes them with one write, and syncs.
func writeSectors(d Disk, sector int64, b []byte) error {
	_, err := d.WriteAt(b, sector*sectorSize)
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		return fmt.Errorf("boot control: write %d bytes of the boot state at sector %d: %w", len(b), sector, err)
	}
	return nil
}

const sectorSize = 512

// ubootBlocks are U-Boot's.
type ubootBlocks struct{ disk Disk }

var ubootSectors = [...]int64{committedBlock: ubootenv.CommittedSector, committedCopy: ubootenv.CopySector, trialBlock: ubootenv.TrialSector}

func (u ubootBlocks) read(which block) (values, error) {
	b, err := readSectors(u.disk, ubootSectors[which], ubootenv.BlockSize)
	if err != nil {
		return nil, err
	}
	return valuesOf(ubootenv.Variables(b)), nil
}

func (u ubootBlocks) write(which block, v ...variable) error {
	b, err := ubootenv.Block(variablesOf[ubootenv.Variable](v)...)
	if err != nil {
		return err
	}
	return writeSectors(u.disk, ubootSectors[which], b)
}

// grubBlocks are GRUB's.
type grubBlocks struct{ disk Disk }

var grubSectors = [...]int64{committedBlock: grubenv.CommittedSector, committedCopy: grubenv.CopySector, trialBlock: grubenv.TrialSector}

func (g grubBlocks) read(which block) (values, error) {
	if which == trialBlock {
		h, err := readSectors(g.disk, grubenv.ArchiveSector, grubenv.BlockSize)
		if err != nil {
			return nil, err
		}
		if !grubenv.Header(h) {
			return nil, nil // GRUB does not find the block
		}
	}
	b, err := readSectors(g.disk, grubSectors[which], grubenv.BlockSize)
	if err != nil {
		return nil, err
	}
	return valuesOf(grubenv.Variables(b)), nil
}

func (g grubBlocks) write(which block, v ...variable) error {
	encode, sector := grubenv.Block, grubSectors[which]
	if which == trialBlock {
		encode, sector = grubenv.Trial, grubenv.ArchiveSector
	}
	b, err := encode(variablesOf[grubenv.Variable](v)...)
	if err != nil {
		return err
	}
	return writeSectors(g.disk, sector, b)
}

// hasGRUB reports whether the bootstate area is GRUB's: any of what it always has.
func hasGRUB(d Disk) (bool, error) {
	h, err := readSectors(d, grubenv.ArchiveSector, grubenv.BlockSize)
	if err != nil {
		return false, err
	}
	if grubenv.Header(h) {
		return true, nil
	}
	g := grubBlocks{d}
	for _, which := range []block{committedBlock, committedCopy} {
		v, err := g.read(which)
		if err != nil || v != nil {
			return v != nil, err
		}
	}
	return false, nil
}
