package firmware

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Range is a half-open range of physical memory addresses, or of bytes of a disk.
type Range struct{ Start, End uint64 }

// At is the range of size bytes from start on.
func At(start, size uint64) Range { return Range{start, start + size} }

// Overlaps says whether the two have a byte in common.
func (r Range) Overlaps(o Range) bool { return r.Start < o.End && o.Start < r.End }

// Within says whether all of r is inside o.
func (r Range) Within(o Range) bool { return r.Start >= o.Start && r.End <= o.End && r.Start <= r.End }

// Empty says whether the range has no byte.
func (r Range) Empty() bool { return r.Start >= r.End }

func (r Range) String() string { return fmt.Sprintf("[%#x, %#x)", r.Start, r.End) }

// Load is one thing that a program takes from the disk.
type Load struct {
	By   string // the program that loads it: "boot ROM", "U-Boot"
	File string // path on the FAT partition, or where it is on the disk
	Size int64  // bytes
	At   Range  // memory it takes while it runs, with what it clears behind itself; empty where nothing tells
}

// Report is what a reader found.
type Report struct {
	Machine string
	Loads   []Load // in the order of loading
	// What the last program on the disk's way to the kernel would start; paths on the FAT partition.
	Kernel, Initrd, DeviceTree string
	Cmdline                    string // kernel command line
	Slot                       string // "a", "b"; empty when it does not show
	Faults                     []string
	// Notes are what the documentation leaves open, and this reader therefore cannot vouch for.
	Notes []string
}

var slotFolder = regexp.MustCompile(`^/?slot-([a-z])/`)

// SlotOf is the slot whose folder a file is in, by its path on the FAT partition: "a", "b"; "" outside of both.
func SlotOf(path string) string {
	if s := slotFolder.FindStringSubmatch(path); s != nil {
		return s[1]
	}
	return ""
}

// Load records a load.
func (r *Report) Load(by, file string, size int64, at Range) {
	r.Loads = append(r.Loads, Load{by, file, size, at})
}

// Faultf records a fault, once.
func (r *Report) Faultf(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.Faults, s) {
		r.Faults = append(r.Faults, s)
	}
}

// Notef records what cannot be known.
func (r *Report) Notef(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// Place checks that things which are in memory at the same time are within ram, touch none of the reserved ranges
// and not each other.
func (r *Report) Place(ram Range, reserved, loads []Load) {
	for i, l := range loads {
		if !l.At.Within(ram) {
			r.Faultf("%s at %s is outside of memory %s", l.File, l.At, ram)
		}
		for _, o := range append(slices.Clone(reserved), loads[:i]...) {
			if l.At.Overlaps(o.At) {
				r.Faultf("%s at %s overlaps %s at %s", l.File, l.At, o.File, o.At)
			}
		}
	}
}

// String is the report for people: a line per load, then what is booted, notes and faults.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine)
	for _, l := range r.Loads {
		at := ""
		if !l.At.Empty() {
			at = l.At.String()
		}
		fmt.Fprintf(&b, "  %-12s %-40s %10d  %s\n", l.By, l.File, l.Size, at)
	}
	for _, kv := range [][2]string{{"slot", r.Slot}, {"kernel", r.Kernel}, {"initrd", r.Initrd}, {"device tree", r.DeviceTree}, {"command line", r.Cmdline}} {
		if kv[1] != "" {
			fmt.Fprintf(&b, "  %s: %s\n", kv[0], kv[1])
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "  FAULT: %s\n", f)
	}
	return b.String()
}
