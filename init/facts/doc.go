// Package facts reads what the kernel tells of the machine: processes, memory, disks, links, sensors and the clock, in the
// types of the machine API (package machine).
//
// Nothing here is kept between two calls, and nothing is written. What a machine does not have is missing in the answer, not an error.
package facts

// Roots are the folders that are read. Tests have others.
type Roots struct {
	Proc string // "/proc"
	Sys  string // "/sys"
	Dev  string // "/dev"
}

// System is a running machine's.
var System = Roots{Proc: "/proc", Sys: "/sys", Dev: "/dev"}
