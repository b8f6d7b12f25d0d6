package state

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keelson-os/keelson/init/durable"
	"github.com/keelson-os/keelson/init/mount"
)

// MachineID returns the machine's id, 32 lower-case hex digits; the first call on a state
// partition makes it. One that was cut short is made anew.
// Source: machine-id(5).
func MachineID(dir string) (string, error) {
	path := filepath.Join(dir, "machine-id")
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && validID(id) {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 16)
	rand.Read(raw)
	// Version 4, variant 1, as an id is a UUID.
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	id := hex.EncodeToString(raw)
	if err := durable.WriteFile(path, []byte(id+"\n"), 0o444); err != nil {
		return "", fmt.Errorf("machine id: %w", err)
	}
	return id, nil
}

func validID(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 16 && strings.ToLower(id) == id
}

// BindMachineID shows dir's machine id as /etc/machine-id.
func BindMachineID(dir string) error {
	return mount.Bind(filepath.Join(dir, "machine-id"), "/etc/machine-id")
}
