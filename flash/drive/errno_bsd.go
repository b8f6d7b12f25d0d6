//go:build unix && !linux

package drive

func noMedium(error) bool { return false }
