package grub

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// BlockSize is the size of a block of boot state, bytes: one sector. grub-editenv makes blocks of 1024 bytes; GRUB takes any size.
const BlockSize = sectorSize

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
			return nil, fmt.Errorf("grub: variable %q: want a name without = and #, and no backslash, line break or NUL", v.Name+"="+v.Value)
		}
		b.WriteString(v.Name + "=" + v.Value + "\n")
	}
	if b.Len() > BlockSize {
		return nil, fmt.Errorf("grub: variables need %d bytes, a block has %d", b.Len(), BlockSize)
	}
	b.WriteString(strings.Repeat("#", BlockSize-b.Len()))
	return []byte(b.String()), nil
}

// Places in the bootstate area, in sectors from its begin.
const (
	archiveSector   = 0
	trialSector     = 1
	committedSector = 32
	copySector      = 40
)

// trialName is the trial block's name in the archive.
const trialName = "trial"

// StateSector is where the bootstate area begins: the disk's sector (512 bytes) at 15 MiB.
const StateSector = 15 << 20 / sectorSize

// State returns the content of the bootstate area of a new disk, from its begin on: slot a is committed, no trial.
func State() ([]byte, error) {
	committed, err := Block(Variable{"ab_default", "a"}, Variable{"ab_gen", "1"})
	if err != nil {
		return nil, err
	}
	trial, err := Block()
	if err != nil {
		return nil, err
	}
	archive, err := archive(trialName, trial, time.Unix(0, 0))
	if err != nil {
		return nil, err
	}
	out := make([]byte, (copySector+1)*sectorSize)
	copy(out[archiveSector*sectorSize:], archive)
	copy(out[committedSector*sectorSize:], committed)
	copy(out[copySector*sectorSize:], committed)
	return out, nil
}

// archive returns a tar archive of one file, one of the file systems that GRUB reads.
func archive(name string, data []byte, modified time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: modified, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(data)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("grub: archive of %s: %w", name, err)
	}
	return b.Bytes(), nil
}
