// Package handoff carries what the initramfs stage found out to PID 1 proper, in a file
// in /run, which moves to the new root with its content.
package handoff

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/keelson-os/keelson/init/step"
)

// Path is the file. Only this boot writes it, before any other process runs.
const Path = "/run/keelson/boot.json"

// Boot is what is known about the booted root.
type Boot struct {
	Slot     string      `json:"slot"`     // "a" or "b"; empty: no slot
	Disk     string      `json:"disk"`     // name below /sys/block of the disk we were booted from
	Part     string      `json:"part"`     // device of the slot's root partition
	Mapper   string      `json:"mapper"`   // device of the verified root, "/dev/dm-0"
	RootHash string      `json:"rootHash"` // hex
	Steps    []step.Step `json:"steps"`    // of the initramfs stage and before
}

// Save writes b to path.
func (b Boot) Save(path string) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// Load reads the file; fs.ErrNotExist when there was no initramfs stage.
func Load(path string) (Boot, error) {
	var b Boot
	data, err := os.ReadFile(path)
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(data, &b)
}
