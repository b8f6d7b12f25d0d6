package facts

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// Memory reads /proc/meminfo.
// Source: proc_meminfo(5).
func (r Roots) Memory() (machine.Memory, error) {
	m := parseMeminfo(read(r.Proc, "meminfo"))
	if m.Total == 0 {
		return m, fmt.Errorf("%s: no line MemTotal", filepath.Join(r.Proc, "meminfo"))
	}
	return m, nil
}

func parseMeminfo(text string) (m machine.Memory) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 53)
		if err != nil || kib < 0 {
			continue
		}
		switch key {
		case "MemTotal":
			m.Total = kib << 10
		case "MemAvailable":
			m.Available = kib << 10
		case "MemFree":
			m.Free = kib << 10
		case "Cached":
			m.Cached = kib << 10
		}
	}
	return m
}

// Load returns the load averages of 1, 5 and 15 minutes; nil if there are none.
// Source: proc_loadavg(5).
func (r Roots) Load() []float64 { return parseLoad(read(r.Proc, "loadavg")) }

func parseLoad(text string) []float64 {
	f := strings.Fields(text)
	if len(f) < 3 {
		return nil
	}
	var load []float64
	for _, x := range f[:3] {
		n, err := strconv.ParseFloat(x, 64)
		if err != nil || !(n >= 0 && n < 1e9) {
			return nil
		}
		load = append(load, n)
	}
	return load
}

// Uptime is the time since the kernel started; 0 if it is not known.
// Source: proc_uptime(5).
func (r Roots) Uptime() time.Duration { return parseUptime(read(r.Proc, "uptime")) }

func parseUptime(text string) time.Duration {
	first, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil || !(n >= 0 && n < 1e9) {
		return 0
	}
	return time.Duration(n * float64(time.Second))
}

// CPUs is the number of processors that run.
func (r Roots) CPUs() int {
	n := 0
	for line := range strings.Lines(read(r.Proc, "stat")) {
		if name, _, _ := strings.Cut(line, " "); len(name) > 3 && strings.HasPrefix(name, "cpu") {
			n++
		}
	}
	return n
}

// Kernel is the release, as uname -r.
func (r Roots) Kernel() string { return read(r.Proc, "sys/kernel/osrelease") }

// Hostname is the machine's name.
func (r Roots) Hostname() string { return read(r.Proc, "sys/kernel/hostname") }
