package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SetHostname sets the kernel's host name. Call it before Start: DHCP sends it.
func SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set host name %q: %w", name, os.NewSyscallError("sethostname", err))
	}
	return nil
}

// DeriveHostname returns "keelson-" and six hex digits of the machine id's SHA-256
// digest: the same at every boot, and telling nothing of the machine id, which
// machine-id(5) wants kept confidential.
func DeriveHostname(machineID string) string {
	sum := sha256.Sum256([]byte(machineID))
	return "keelson-" + hex.EncodeToString(sum[:3])
}

// WriteHosts writes the hosts file at path: localhost, and the node's own name on
// 127.0.1.1 as Debian does, so that it resolves before there is any address.
func WriteHosts(path, hostname string) error {
	text := "127.0.0.1\tlocalhost\n" +
		"127.0.1.1\t" + hostname + "\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"ff02::1\tip6-allnodes\n" +
		"ff02::2\tip6-allrouters\n"
	if err := writeFile(path, []byte(text)); err != nil {
		return fmt.Errorf("write hosts file: %w", err)
	}
	return nil
}

// writeFile replaces the file at path whole, mode 0644, so that a reader sees the old
// text or the new. It does not sync: these files are in /run.
func writeFile(path string, b []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if cerr := f.Chmod(0o644); err == nil {
		err = cerr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
