package uboot

import "github.com/keelson-os/keelson/tests/firmware"

// Machine is a board as its U-Boot sees it.
type Machine struct {
	Name    string
	DevType string // of the disk: "mmc", "virtio"
	DevNum  int
	Memory  firmware.Range
	// Reserved is memory that the script must leave alone: secure firmware, U-Boot itself.
	Reserved []firmware.Load
	Env      map[string]string // what the script may build upon
	EnvSize  uint64            // CONFIG_ENV_SIZE; "env export -c" clears so many bytes, whatever -s says
	SetExpr  bool              // has the command setexpr
	Part     bool              // has the command part
	Distro   bool              // boots by distro_bootcmd, not by standard boot
	// FirmwareTree is the device tree that the firmware left at ${fdt_addr}; nil when it leaves none.
	FirmwareTree []byte
	// EnvFile says that a uboot.env on the FAT partition would replace the environment.
	EnvFile bool
}

const (
	mib = 1 << 20
	// own is what U-Boot keeps at the end of memory: its relocated self, heap, stack, frame buffer.
	own = 64 * mib
)

func top(end uint64) firmware.Load {
	return firmware.Load{File: "U-Boot itself", At: firmware.Range{Start: end - own, End: end}}
}

// Pi is a Raspberry Pi 3 or 4, or a Zero 2 W, whose firmware left this device tree just below the end of memory, or below
// 0x2f000000 where that is nearer. memory is what the processor has of the first gigabyte.
func Pi(name string, memory firmware.Range, tree []byte) Machine {
	end := min(memory.End, uint64(0x2f000000))
	size := uint64(len(tree)+64<<10+0xfff) &^ 0xfff
	at := firmware.Range{Start: end - size, End: end}
	return Machine{
		Name: name, DevType: "mmc", Memory: firmware.Range{End: memory.End}, SetExpr: true, Part: true, EnvFile: true,
		Reserved: []firmware.Load{
			{File: "the ARM stub", At: firmware.Range{End: 0x80000}},
			{File: "the firmware's device tree", At: at},
			top(memory.End),
		},
		Env: map[string]string{
			"kernel_addr_r": "0x00080000", "scriptaddr": "0x02400000", "pxefile_addr_r": "0x02500000", "fdt_addr_r": "0x02600000",
			"ramdisk_addr_r": "0x02700000", "fdt_high": "ffffffffffffffff", "initrd_high": "ffffffffffffffff",
			"board": "rpi", "fdt_addr": hex(at.Start),
		},
		EnvSize: 0x4000, FirmwareTree: tree,
	}
}

// Boards without a device tree from their firmware; each with the least memory that it is sold with.
var (
	Rock64    = rockchip("ROCK64, 1 GiB", "rk3328-rock64", 0x40000000)
	RockPro64 = rockchip("ROCKPro64, 2 GiB", "rk3399-rockpro64", 0x80000000)
	Pine64    = sunxi("Pine A64+, 1 GiB", "sun50i-a64-pine64-plus", 0x80000000)
	Pine64LTS = sunxi("Pine A64-LTS, 2 GiB", "sun50i-a64-pine64-lts", 0xc0000000)
)

// rockchip: the SD card is mmc1, the eMMC mmc0; trusted firmware has the first 2 MiB.
func rockchip(name, tree string, end uint64) Machine {
	return Machine{
		Name: name, DevType: "mmc", DevNum: 1, Memory: firmware.Range{Start: 2 * mib, End: end},
		Reserved: []firmware.Load{top(end)},
		Env: map[string]string{
			"scriptaddr": "0x00500000", "pxefile_addr_r": "0x00600000", "fdt_addr_r": "0x01e00000", "fdtoverlay_addr_r": "0x01f00000",
			"kernel_addr_r": "0x02080000", "ramdisk_addr_r": "0x06000000", "kernel_comp_addr_r": "0x08000000",
			"fdtfile": "rockchip/" + tree + ".dtb", "board": "evb_" + tree[:6],
		},
		EnvSize: 0x8000, Part: true,
	}
}

func sunxi(name, tree string, end uint64) Machine {
	return Machine{
		Name: name, DevType: "mmc", Memory: firmware.Range{Start: 0x40000000, End: end},
		Reserved: []firmware.Load{top(end)},
		Env: map[string]string{
			"scriptaddr": "0x4FC00000", "pxefile_addr_r": "0x4FD00000", "fdt_addr_r": "0x4FA00000", "fdtoverlay_addr_r": "0x4FE00000",
			"kernel_addr_r": "0x40080000", "ramdisk_addr_r": "0x4FF00000", "kernel_comp_addr_r": "0x44000000", "bootm_size": "0xa000000",
			"fdtfile": "allwinner/" + tree + ".dtb", "board": "sunxi",
		},
		EnvSize: 0x10000, SetExpr: true, Part: true, Distro: true, EnvFile: true,
	}
}
