//go:build unix

package drive

import (
	"errors"
	"syscall"
)

// Full reports whether an error says that there is no room left.
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Gone reports whether an error says that the disk is not there (any more).
func Gone(err error) bool { return isAny(err, syscall.ENODEV, syscall.ENXIO) || noMedium(err) }

// Broken reports whether an error says that the disk could not read or write, or was
// pulled out in the middle of it.
func Broken(err error) bool { return errors.Is(err, syscall.EIO) }

// Unable reports whether an error says that the disk or its driver does not know a command.
func Unable(err error) bool {
	return isAny(err, syscall.ENOTTY, syscall.EOPNOTSUPP, syscall.EINVAL, syscall.ENOSYS)
}

func busy(err error) bool { return isAny(err, syscall.EBUSY, syscall.EWOULDBLOCK) }
