package sysctl

import (
	"math"
	"strconv"
)

// MinFree is how much memory the kernel keeps free for what cannot wait, by the size of
// the machine's memory, both in KiB.
//
// It is twice the kernel's own measure, 4·√memory, within [8 MiB, 64 MiB]. Where transparent
// huge pages are on, the kernel raises it to 44 MiB even on a machine of 1 GiB, and with
// the marks above it takes some 100 MiB from programs.
// Source: mm/page_alloc.c, init_per_zone_wmark_min; mm/khugepaged.c, set_recommended_min_free_kbytes.
func MinFree(memory uint64) Setting {
	kib := 8 * math.Sqrt(float64(memory))
	return Setting{"vm.min_free_kbytes", strconv.Itoa(int(min(max(kib, 8<<10), 64<<10)))}
}
