package qemu

import (
	"fmt"
	"os"
	"path/filepath"
)

// socketName is QEMU's control socket in the machine's folder.
const socketName = "qmp.sock"

// maxAddress is the longest path that a socket's address holds on macOS, in bytes; Windows
// and Linux take four more.
const maxAddress = 103

// shortAddress returns the address of the control socket in a folder, for systems where a
// folder's descriptor has no path: the shorter one of the path from the root and the path
// from here.
func shortAddress(dir string) (string, error) {
	address := filepath.Join(dir, socketName)
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, address); err == nil && len(rel) < len(address) {
			address = rel
		}
	}
	if len(address) > maxAddress {
		return "", fmt.Errorf("%s: the path of the machine's control socket has %d bytes, the system allows %d: put the image into a folder with a shorter path, or run keelson from there",
			address, len(address), maxAddress)
	}
	return address, nil
}
