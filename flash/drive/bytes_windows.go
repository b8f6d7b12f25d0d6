package drive

import "unsafe"

// bytesOf is where a number is, as device controls want it.
func bytesOf(n *int64) *byte { return (*byte)(unsafe.Pointer(n)) }
