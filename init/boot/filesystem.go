package boot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// fileSystem returns the type of the file system on the device dev: "squashfs" or "erofs".
func fileSystem(dev string) (string, error) {
	f, err := os.Open(dev)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 2048)
	if _, err := io.ReadFull(f, head); err != nil {
		return "", err
	}
	switch {
	case bytes.HasPrefix(head, []byte("hsqs")):
		return "squashfs", nil
	case binary.LittleEndian.Uint32(head[1024:]) == 0xe0f5e1e2:
		return "erofs", nil
	}
	return "", fmt.Errorf("%s: neither squashfs nor erofs", dev)
}
