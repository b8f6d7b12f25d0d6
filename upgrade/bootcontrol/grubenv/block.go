package grubenv

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// BlockSize is the size of a block of boot state, bytes: one sector. grub-editenv makes blocks of 1024 bytes; GRUB takes any size.
const BlockSize = 512

// signature begins an environment block. Source: GRUB include/grub/lib/envblk.h.
const signature = "# GRUB Environment Block\n"

// Variable is one variable of a block.
type Variable struct{ Name, Value string }

// Block returns a block of boot state with the variables. Equal variables give equal bytes.
// Errors: names or values that the format would need to escape; more than fits.
func Block(variables ...Variable) ([]byte, error) {
	var b strings.Builder
	b.WriteString(signature)
	for _, v := range variables {
		if v.Name == "" || strings.ContainsAny(v.Name, "=#\\\n\x00") || strings.ContainsAny(v.Value, "\\\n\x00") {
			return nil, fmt.Errorf("grubenv: variable %q: want a name without = and #, and no backslash, line break or NUL", v.Name+"="+v.Value)
		}
		b.WriteString(v.Name + "=" + v.Value + "\n")
	}
	if b.Len() > BlockSize {
		return nil, fmt.Errorf("grubenv: variables need %d bytes, a block has %d", b.Len(), BlockSize)
	}
	b.WriteString(strings.Repeat("#", BlockSize-b.Len()))
	return []byte(b.String()), nil
}

// Places on the disk: its sectors, of 512 bytes. The bootstate area begins at 15 MiB.
const (
	StateSector     = 15 << 20 / BlockSize
	ArchiveSector   = StateSector // header of the archive
	TrialSector     = StateSector + 1
	CommittedSector = StateSector + 32
	CopySector      = StateSector + 40
)

// TrialName is the trial block's name in the archive.
const TrialName = "trial"

// Trial returns sectors ArchiveSector and TrialSector with the variables in the trial block. They are to be written with one write.
func Trial(variables ...Variable) ([]byte, error) {
	block, err := Block(variables...)
	if err != nil {
		return nil, err
	}
	b, err := Archive(TrialName, block, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	return b[:2*BlockSize], nil
}

// Header reports whether a sector is the header of the archive that Trial makes.
func Header(sector []byte) bool {
	b, err := Trial()
	return err == nil && bytes.Equal(sector, b[:BlockSize])
}

// New returns the content of the bootstate area of a new disk, from its begin on: slot a is committed, no trial.
func New() ([]byte, error) {
	committed, err := Block(Variable{"ab_default", "a"}, Variable{"ab_gen", "1"})
	if err != nil {
		return nil, err
	}
	trial, err := Block()
	if err != nil {
		return nil, err
	}
	archive, err := Archive(TrialName, trial, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	out := make([]byte, (CopySector-StateSector+1)*BlockSize)
	copy(out, archive)
	copy(out[(CommittedSector-StateSector)*BlockSize:], committed)
	copy(out[(CopySector-StateSector)*BlockSize:], committed)
	return out, nil
}

// Archive returns a tar archive of one file, one of the file systems that GRUB reads.
func Archive(name string, data []byte, modified time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: modified, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(data)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("grubenv: archive of %s: %w", name, err)
	}
	return b.Bytes(), nil
}
