package drive

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeHost makes the parts of /sys, /proc and udev's database that are read, for a laptop
// with an NVMe disk (LVM on LUKS), a USB stick with two mounted partitions, an SD card in
// a built-in reader, an empty USB card reader, an internal eMMC, and things that are no disks.
func fakeHost(t *testing.T) host {
	t.Helper()
	dir := t.TempDir()
	h := host{sys: filepath.Join(dir, "sys"), proc: filepath.Join(dir, "proc"), udev: filepath.Join(dir, "udev")}
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, at string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	disk := func(place, name, num string, properties map[string]string) string {
		d := filepath.Join(h.sys, "devices", place, "block", name)
		put(filepath.Join(d, "dev"), num)
		for _, p := range []struct{ name, def string }{{"size", "0"}, {"ro", "0"}, {"removable", "0"}, {"queue/logical_block_size", "512"}} {
			text := p.def
			if v, ok := properties[p.name]; ok {
				text = v
			}
			put(filepath.Join(d, p.name), text)
		}
		for k, v := range properties {
			if strings.HasPrefix(k, "device/") {
				put(filepath.Join(d, k), v)
			}
		}
		link(d, filepath.Join(h.sys, "block", name))
		link(d, filepath.Join(h.sys, "dev", "block", num))
		return d
	}
	part := func(disk, name string, n int, num, size string) {
		d := filepath.Join(disk, name)
		put(filepath.Join(d, "partition"), fmt.Sprint(n))
		put(filepath.Join(d, "dev"), num)
		put(filepath.Join(d, "size"), size)
		if err := os.MkdirAll(filepath.Join(d, "holders"), 0o755); err != nil {
			t.Fatal(err)
		}
		link(d, filepath.Join(h.sys, "dev", "block", num))
	}
	nvme := disk("pci0000:00/0000:00:1d.0/0000:3b:00.0/nvme/nvme0", "nvme0n1", "259:0", map[string]string{"size": "1000215216", "device/model": "SAMSUNG MZVLB512HBJQ-000L7"})
	part(nvme, "nvme0n1p1", 1, "259:1", "1048576")
	part(nvme, "nvme0n1p2", 2, "259:2", "999000000")
	stick := disk("pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/target6:0:0/6:0:0:0", "sdb", "8:16",
		map[string]string{"size": "60437492", "removable": "1", "device/vendor": "SanDisk ", "device/model": "Ultra USB 3.0   "})
	part(stick, "sdb1", 1, "8:17", "2097152")
	part(stick, "sdb2", 2, "8:18", "1000000")
	part(stick, "sdb10", 10, "8:26", "1000000")
	disk("pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/host7/target7:0:0/7:0:0:0", "sdc", "8:32", map[string]string{"removable": "1", "device/vendor": "Generic-", "device/model": "SD/MMC"})
	card := disk("pci0000:00/0000:00:1e.0/mmc_host/mmc0/mmc0:aaaa", "mmcblk0", "179:0", map[string]string{"size": "62333952", "device/type": "SD", "device/name": "SC32G"})
	part(card, "mmcblk0p1", 1, "179:1", "524288")
	disk("pci0000:00/0000:00:1f.0/mmc_host/mmc1/mmc1:0001", "mmcblk1", "179:8", map[string]string{"size": "61071360", "device/type": "MMC", "device/name": "DF4032"})
	disk("pci0000:00/0000:00:1f.0/mmc_host/mmc1/mmc1:0001", "mmcblk1boot0", "179:16", map[string]string{"size": "8192"})
	disk("pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0", "sda", "8:0", map[string]string{"size": "7814037168", "device/vendor": "ATA     ", "device/model": "WDC WD40EFRX-68N", "ro": "1", "queue/logical_block_size": "4096"})
	for i, name := range []string{"loop0", "ram0", "zram0", "sr0", "md127"} {
		disk("virtual", name, fmt.Sprintf("7:%d", i), map[string]string{"size": "1000"})
	}
	crypt := disk("virtual", "dm-0", "253:0", map[string]string{"size": "999"})
	put(filepath.Join(crypt, "dm", "name"), "luks-1234")
	root := disk("virtual", "dm-1", "253:1", map[string]string{"size": "999"})
	put(filepath.Join(root, "dm", "name"), "vg0-root")
	link(crypt, filepath.Join(nvme, "nvme0n1p2", "holders", "dm-0"))
	link(root, filepath.Join(crypt, "holders", "dm-1"))

	put(filepath.Join(h.proc, "self", "mountinfo"), strings.Join([]string{
		"22 27 0:21 / /proc rw,relatime - proc proc rw",
		"27 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw,errors=remount-ro",
		"40 27 259:1 / /boot/efi rw,relatime shared:2 - vfat /dev/nvme0n1p1 rw",
		`50 27 8:17 / /media/me/MY\040CARD rw,nosuid,nodev shared:3 master:4 - vfat /dev/sdb1 rw`,
		"51 27 0:55 /@ /media/me/data rw - btrfs /dev/sdb2 rw",
	}, "\n"))
	put(filepath.Join(h.proc, "swaps"), "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n/dev/sdb10                              partition\t1000\t0\t-2")
	put(filepath.Join(h.udev, "b8:17"), "S:disk/by-id/usb\nE:ID_FS_LABEL=MY CARD\nE:ID_FS_TYPE=vfat\nE:ID_PART_ENTRY_NAME=boot")
	put(filepath.Join(h.udev, "b8:18"), "E:ID_FS_TYPE=btrfs\nE:ID_PART_ENTRY_NAME=data")
	return h
}

func TestLinuxDisksAreDescribed(t *testing.T) {
	h := fakeHost(t)
	disks, err := h.disks()
	if err != nil {
		t.Fatal(err)
	}
	byPath := map[string]Disk{}
	var paths []string
	for _, d := range disks {
		byPath[d.Path] = d
		paths = append(paths, d.Path)
	}
	slices.Sort(paths)
	if want := []string{"/dev/mmcblk0", "/dev/mmcblk1", "/dev/nvme0n1", "/dev/sda", "/dev/sdb", "/dev/sdc"}; !slices.Equal(paths, want) {
		t.Fatalf("disks %q, want %q", paths, want)
	}
	for path, want := range map[string]struct {
		model, bus string
		size       int64
		removable  bool
	}{
		"/dev/sdb":     {"SanDisk Ultra USB 3.0", "usb", 60437492 * 512, true},
		"/dev/sdc":     {"Generic- SD/MMC", "usb", 0, true},
		"/dev/mmcblk0": {"SC32G", "sd", 62333952 * 512, true},
		"/dev/mmcblk1": {"DF4032", "mmc", 61071360 * 512, false},
		"/dev/nvme0n1": {"SAMSUNG MZVLB512HBJQ-000L7", "nvme", 1000215216 * 512, false},
		"/dev/sda":     {"ATA WDC WD40EFRX-68N", "ata", 7814037168 * 512, false},
	} {
		if d := byPath[path]; d.Model != want.model || d.Bus != want.bus || d.Size != want.size || d.Removable != want.removable {
			t.Errorf("%s: %q, %q, %d bytes, removable %v; want %+v", path, d.Model, d.Bus, d.Size, d.Removable, want)
		}
	}
	if d := byPath["/dev/sda"]; !d.ReadOnly || d.SectorSize != 4096 {
		t.Errorf("/dev/sda: %+v, want it read-only, with sectors of 4096 bytes", d)
	}
	d := byPath["/dev/sdb"]
	if got := d.Contents(); got != "MY CARD (vfat), data (btrfs), ?" {
		t.Errorf("Contents = %q", got)
	}
	if d.Partitions[2].Path != "/dev/sdb10" {
		t.Errorf("partitions are in the order %+v", d.Partitions)
	}
}

func TestLinuxUsesAreFound(t *testing.T) {
	h := fakeHost(t)
	for _, tt := range []struct {
		num  number
		part int64
		want []Use
	}{
		{"8:16", 0, []Use{
			{Mounted, "/media/me/MY CARD (/dev/sdb1)", "/media/me/MY CARD"}, {Mounted, "/media/me/data (/dev/sdb2)", "/media/me/data"},
			{System, "swap (/dev/sdb10)", ""},
		}},
		{"8:17", 2097152 * 512, []Use{
			{Mounted, "/media/me/MY CARD (/dev/sdb1)", "/media/me/MY CARD"}, {Mounted, "/media/me/data (/dev/sdb2)", "/media/me/data"},
			{System, "swap (/dev/sdb10)", ""},
		}},
		{"259:0", 0, []Use{
			{System, "/boot/efi (/dev/nvme0n1p1)", "/boot/efi"}, {InUse, "luks-1234 (/dev/nvme0n1p2)", ""},
			{InUse, "vg0-root (/dev/nvme0n1p2)", ""}, {System, "/ (/dev/nvme0n1p2)", "/"}, {System, "/ (/dev/nvme0n1p2)", "/"},
		}},
		{"179:0", 0, nil},
	} {
		d, part, err := h.byNumber(tt.num)
		if err != nil {
			t.Fatal(err)
		}
		if part != tt.part || !slices.Equal(d.Uses, tt.want) {
			t.Errorf("%s: partition of %d bytes, uses %+v; want %d, %+v", tt.num, part, d.Uses, tt.part, tt.want)
		}
	}
	if _, _, err := h.byNumber("99:0"); err == nil {
		t.Error("byNumber of no disk = nil, want an error")
	}
}
