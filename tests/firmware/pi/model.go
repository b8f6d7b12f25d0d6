package pi

import "github.com/keelson-os/keelson/tests/firmware"

// Generation says which programs are in the way to the kernel.
type Generation int

// The generations.
const (
	Gen3 Generation = 3 // boot ROM, bootcode.bin, start.elf
	Gen4 Generation = 4 // EEPROM, start4.elf
	Gen5 Generation = 5 // EEPROM
)

// Model is a kind of Raspberry Pi.
type Model struct {
	Name    string
	Gen     Generation
	Type    int             // board type, bits 4 to 11 of the revision code
	Filters map[string]bool // of config.txt that hold on it
	// Upstream and Downstream are the device trees it looks for, with upstream_kernel=1 and without, best first.
	Upstream, Downstream []string
	// Memory is what the processor may use below the first gigabyte: the VideoCore keeps the rest.
	Memory firmware.Range
}

// low1G is the usual first range of a Pi with a gigabyte or more and 76 MiB for the VideoCore.
var low1G = firmware.Range{End: 0x3b400000}

func filters(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Models are those that the rpi and rpi5 images are for.
var Models = []Model{
	{"Raspberry Pi 3B", Gen3, 0x08, filters("pi3"), []string{"bcm2837-rpi-3-b.dtb"}, []string{"bcm2710-rpi-3-b.dtb"}, low1G},
	{"Raspberry Pi 3B+", Gen3, 0x0d, filters("pi3", "pi3+"), []string{"bcm2837-rpi-3-b-plus.dtb"}, []string{"bcm2710-rpi-3-b-plus.dtb"}, low1G},
	{"Raspberry Pi 3A+", Gen3, 0x0e, filters("pi3", "pi3+"), []string{"bcm2837-rpi-3-a-plus.dtb"}, []string{"bcm2710-rpi-3-b-plus.dtb"}, firmware.Range{End: 0x1c000000}},
	{"Raspberry Pi Zero 2 W", Gen3, 0x12, filters("pi0", "pi0w", "pi02"), []string{"bcm2837-rpi-zero-2-w.dtb"}, []string{"bcm2710-rpi-zero-2-w.dtb", "bcm2710-rpi-zero-2.dtb"}, firmware.Range{End: 0x1c000000}},
	{"Raspberry Pi 4B", Gen4, 0x11, filters("pi4"), []string{"bcm2711-rpi-4-b.dtb"}, []string{"bcm2711-rpi-4-b.dtb"}, low1G},
	{"Raspberry Pi 400", Gen4, 0x13, filters("pi4", "pi400"), []string{"bcm2711-rpi-400.dtb"}, []string{"bcm2711-rpi-400.dtb", "bcm2711-rpi-4-b.dtb"}, low1G},
	{"Compute Module 4", Gen4, 0x14, filters("pi4", "cm4"), []string{"bcm2711-rpi-cm4-io.dtb"}, []string{"bcm2711-rpi-cm4.dtb", "bcm2711-rpi-4-b.dtb"}, low1G},
	{"Raspberry Pi 5", Gen5, 0x17, filters("pi5"), []string{"bcm2712-rpi-5-b.dtb"}, []string{"bcm2712-rpi-5-b.dtb"}, low1G},
	{"Compute Module 5", Gen5, 0x18, filters("pi5", "cm5"), []string{"bcm2712-rpi-cm5-cm5io.dtb"}, []string{"bcm2712-rpi-cm5-cm5io.dtb"}, low1G},
	{"Raspberry Pi 500", Gen5, 0x19, filters("pi5", "pi500"), []string{"bcm2712-rpi-500.dtb"}, []string{"bcm2712-rpi-500.dtb"}, low1G},
}

// known are the filters by name that start4.elf of 2024-04-24 has, and so all later programs.
var known = filters("all", "none", "tryboot", "pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400", "pi5", "pi500", "cm4", "cm4s", "cm5")
