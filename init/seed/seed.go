// Package seed carries randomness over a reboot, for machines whose kernel starts with
// little of it.
//
// A seed must never be used twice: it is taken off the disk, and the disk synced, before
// it is given to the kernel, and it counts as entropy only when it was made by a kernel
// whose generator was ready.
package seed

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/durable"
)

const (
	// credited is a seed made when the generator was ready; plain is one that was not.
	credited = "random-seed"
	plain    = "random-seed.plain"
	size     = 64 // bytes of random numbers; a SHA-256 of old and new follows
)

// Restore gives the seed in dir to the kernel and saves the next one. It returns how many
// bits were credited; a node without a seed yet gets 0 and no error.
func Restore(dir string) (bits int, err error) {
	var old []byte
	for _, name := range []string{credited, plain} {
		b, err := take(dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return bits, err
		}
		old = append(old, b...)
		n := 0
		if name == credited && len(b) >= size {
			n = 256
		}
		if err := add(b, n); err != nil {
			return bits, err
		}
		bits += n
	}
	return bits, save(dir, old)
}

// Save writes a new seed to dir, at shutdown.
func Save(dir string) error { return save(dir, nil) }

// take reads and removes a seed, and makes the removal last.
func take(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return b, durable.SyncDir(dir)
}

// save makes a seed from the kernel's generator and old; a generator that is not ready
// gives what it has.
func save(dir string, old []byte) error {
	b := make([]byte, size)
	name := credited
	n, err := unix.Getrandom(b, unix.GRND_NONBLOCK)
	if err != nil || n != len(b) {
		name = plain
		if _, err := unix.Getrandom(b, unix.GRND_INSECURE); err != nil {
			return os.NewSyscallError("getrandom", err)
		}
	}
	sum := sha256.Sum256(append(old, b...))
	if err := write(filepath.Join(dir, name), append(b, sum[:]...)); err != nil {
		return fmt.Errorf("save random seed: %w", err)
	}
	return durable.SyncDir(dir)
}

func write(path string, b []byte) (err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// add gives b to the kernel and credits it with bits of entropy.
// Source: random(4), RNDADDENTROPY.
func add(b []byte, bits int) error {
	if len(b) == 0 {
		return nil
	}
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// struct rand_pool_info { int entropy_count; int buf_size; __u32 buf[]; }
	info := make([]byte, 8+len(b))
	binary.NativeEndian.PutUint32(info, uint32(bits))
	binary.NativeEndian.PutUint32(info[4:], uint32(len(b)))
	copy(info[8:], b)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return os.NewSyscallError("RNDADDENTROPY", errno)
	}
	return nil
}
