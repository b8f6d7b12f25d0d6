package facts

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/machine"
)

// Temperatures reads every sensor: thermal zones, then those of hardware monitors that are no thermal zone's.
// Source: Linux, Documentation/driver-api/thermal/sysfs-api.rst; Documentation/hwmon/sysfs-interface.rst.
func (r Roots) Temperatures() []machine.Temperature {
	found := []machine.Temperature{}
	zones := map[string]bool{} // the kernel shows each zone as a monitor as well, "-" in its name as "_"
	for _, dir := range sorted(r.Sys, "class/thermal/thermal_zone*") {
		name := read(dir, "type")
		zones[strings.ReplaceAll(name, "-", "_")] = true
		if c, ok := celsius(read(dir, "temp")); ok {
			found = append(found, machine.Temperature{Sensor: name, Celsius: c})
		}
	}
	for _, dir := range sorted(r.Sys, "class/hwmon/hwmon*") {
		name := read(dir, "name")
		if zones[name] {
			continue
		}
		for _, input := range sorted(dir, "temp*_input") {
			c, ok := celsius(read(input))
			if !ok {
				continue
			}
			sensor := name
			if label := read(strings.TrimSuffix(input, "_input") + "_label"); label != "" {
				sensor += ": " + label
			}
			found = append(found, machine.Temperature{Sensor: sensor, Celsius: c})
		}
	}
	return found
}

// celsius reads thousandths of a degree. What no sensor can have seen is a broken one's.
func celsius(text string) (float64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < -100_000 || n > 250_000 {
		return 0, false
	}
	return float64(n) / 1000, true
}

// sorted returns the matches below dir, "x2" before "x10".
func sorted(dir, pattern string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, pattern))
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names
}
