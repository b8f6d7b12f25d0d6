package apply

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Lock makes sure that only one upgrade is written at once, in this process and among all: it holds the file at path, which it makes
// if need be, until unlock is called or the process ends. Hold it over Run and Arm.
// Errors: ErrBusy while somebody else holds it.
func Lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of upgrades: %w", err)
	}
	// The lock belongs to the open file, so it also holds against another Lock of this process (flock(2)).
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(ErrBusy, f.Close())
	case err != nil:
		return nil, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, f.Close())
	}
	return f.Close, nil
}
