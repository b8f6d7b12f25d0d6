package drive

import "syscall"

// noMedium: a reader without a card, or with another one than before.
func noMedium(err error) bool { return isAny(err, syscall.ENOMEDIUM, syscall.EMEDIUMTYPE) }
