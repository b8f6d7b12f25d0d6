package drive

import "golang.org/x/sys/windows"

// Full reports whether an error says that there is no room left.
func Full(err error) bool {
	return isAny(err, windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL)
}

// Gone reports whether an error says that the disk is not there (any more).
func Gone(err error) bool {
	return isAny(err, windows.ERROR_NOT_READY, windows.ERROR_DEVICE_NOT_CONNECTED, windows.ERROR_NO_SUCH_DEVICE,
		windows.ERROR_DEVICE_REMOVED, windows.ERROR_NO_MEDIA_IN_DRIVE, windows.ERROR_MEDIA_CHANGED)
}

// Broken reports whether an error says that the disk could not read or write, or was
// pulled out in the middle of it.
func Broken(err error) bool {
	return isAny(err, windows.ERROR_IO_DEVICE, windows.ERROR_GEN_FAILURE, windows.ERROR_CRC, windows.ERROR_SEM_TIMEOUT,
		windows.ERROR_WRITE_FAULT, windows.ERROR_READ_FAULT, windows.ERROR_SECTOR_NOT_FOUND)
}

// Unable reports whether an error says that the disk or its driver does not know a command.
func Unable(err error) bool {
	return isAny(err, windows.ERROR_INVALID_FUNCTION, windows.ERROR_NOT_SUPPORTED, windows.ERROR_INVALID_PARAMETER)
}

func busy(err error) bool {
	return isAny(err, windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION, windows.ERROR_DRIVE_LOCKED)
}
