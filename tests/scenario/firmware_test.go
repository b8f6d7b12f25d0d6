package scenario

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/bios"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/pi"
	"github.com/keelson-os/keelson/tests/firmware/rockchip"
	"github.com/keelson-os/keelson/tests/firmware/sunxi"
	"github.com/keelson-os/keelson/tests/firmware/uboot"
	"github.com/keelson-os/keelson/tests/firmware/uefi"
)

// card is an image as a firmware sees it.
type card struct {
	*os.File
	size int64
}

// TestFirmwareFindsWhatItLoads builds the image of every board and reads it as the firmware of every machine that
// the board is for: what is loaded, file by file, to where in memory, and nothing amiss. With U-Boot the boot script is
// run, too: three tries of the other slot, then back; damaged boot state. In "make test" only pc and rpi.
func TestFirmwareFindsWhatItLoads(t *testing.T) {
	for _, board := range []struct {
		name   string
		always bool // also without KEELSON_ALL
		check  func(t *testing.T, c card)
	}{
		{"pc", true, func(t *testing.T, c card) {
			clean(t, "a")(uefi.Check(c, c.size, uefi.AMD64))
			clean(t, "")(bios.Check(c, c.size))
			clean(t, "a")(bios.Start(disk.NewOverlay(c), c.size))
		}},
		{"rpi", true, func(t *testing.T, c card) {
			for _, m := range pi.Models {
				if m.Gen == pi.Gen5 {
					continue
				}
				t.Run(m.Name, func(t *testing.T) {
					r := clean(t, "")(pi.Check(c, c.size, m))
					slots(t, c, uboot.Pi(m.Name, m.Memory, c.file(t, r.DeviceTree)))
				})
			}
		}},
		{"arm64", false, func(t *testing.T, c card) { clean(t, "")(uefi.Check(c, c.size, uefi.ARM64)) }},
		{"rpi5", false, func(t *testing.T, c card) {
			for _, m := range pi.Models {
				if m.Gen == pi.Gen5 {
					t.Run(m.Name, func(t *testing.T) { clean(t, "a")(pi.Check(c, c.size, m)) })
				}
			}
		}},
		{"rock64", false, func(t *testing.T, c card) {
			clean(t, "")(rockchip.Check(c, c.size, rockchip.RK3328))
			slots(t, c, uboot.Rock64)
		}},
		{"rockpro64", false, func(t *testing.T, c card) {
			clean(t, "")(rockchip.Check(c, c.size, rockchip.RK3399))
			slots(t, c, uboot.RockPro64)
		}},
		{"pine64", false, func(t *testing.T, c card) {
			clean(t, "")(sunxi.Check(c, c.size, sunxi.Pine64))
			slots(t, c, uboot.Pine64)
		}},
		{"pine64-lts", false, func(t *testing.T, c card) {
			clean(t, "")(sunxi.Check(c, c.size, sunxi.Pine64LTS))
			slots(t, c, uboot.Pine64LTS)
		}},
	} {
		t.Run(board.name, func(t *testing.T) {
			if !board.always {
				slow(t)
			}
			board.check(t, buildCard(t, board.name))
		})
	}
}

// buildCard builds the image of a board with the run's own configuration, so without Traefik, which "make test" does
// not compile for arm64; of pc it takes the run's own image.
func buildCard(t *testing.T, board string) card {
	t.Helper()
	l := *lab
	if board != "pc" {
		l.Image = filepath.Join(scratch(t, "card-"), board+".img")
		if err := l.Build(t.Context(), "--board", board); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(l.Image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return card{f, st.Size()}
}

// file reads a file of the first partition.
func (c card) file(t *testing.T, name string) []byte {
	t.Helper()
	table, err := disk.Read(c, c.size)
	if err != nil {
		t.Fatal(err)
	}
	fat, err := disk.OpenFAT(c, table.Partitions[0])
	if err != nil {
		t.Fatal(err)
	}
	data, err := fat.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// clean takes a reader's answer and logs it; there must be no fault, and this slot, when the reader sees slots.
func clean(t *testing.T, slot string) func(firmware.Report, error) firmware.Report {
	return func(r firmware.Report, err error) firmware.Report {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", r)
		if len(r.Faults) > 0 {
			t.Errorf("%s: %d faults: %q", r.Machine, len(r.Faults), r.Faults)
		}
		if r.Slot != "" && r.Slot != slot {
			t.Errorf("%s: starts slot %q, want %q", r.Machine, r.Slot, slot)
		}
		return r
	}
}

// slots runs the boot script of a fresh image again and again. Slot b is empty: a try of it ends with a reset.
func slots(t *testing.T, c card, m uboot.Machine) {
	t.Helper()
	clean(t, "a")(uboot.Check(c, c.size, m))
	block := make([]byte, uboot.BlockSize)
	if _, err := c.ReadAt(block, uboot.StateOffset); err != nil {
		t.Fatal(err)
	}
	state, err := uboot.ParseBlock(block)
	if err != nil || state["ab_default"] != "a" {
		t.Fatalf("the committed block of a new image: %q, %v; want slot a", state, err)
	}
	trial, err := uboot.EnvBlock(map[string]string{"ab_try": "b", "ab_left": "3", "ab_tgen": state["ab_gen"]}, uboot.BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	write := func(d *disk.Overlay, data []byte, at int64) {
		if _, err := d.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	start := func(d *disk.Overlay) string {
		r, err := uboot.Start(d, c.size, m)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Faults) > 0 {
			return "reset"
		}
		return r.Slot
	}

	d := disk.NewOverlay(c)
	write(d, trial, uboot.TrialOffset)
	for i, want := range []string{"reset", "reset", "reset", "a", "a"} {
		if got := start(d); got != want {
			t.Errorf("%s: start %d with a trial of the empty slot b: %q, want %q", m.Name, i+1, got, want)
		}
	}
	for _, torn := range []struct {
		what string
		at   int64
	}{{"the committed block", uboot.StateOffset}, {"the trial block", uboot.TrialOffset}} {
		d := disk.NewOverlay(c)
		write(d, trial, uboot.TrialOffset)
		sector := make([]byte, disk.SectorSize)
		for i := range sector {
			sector[i] = 0xff
		}
		write(d, sector, torn.at+disk.SectorSize)
		block := make([]byte, uboot.BlockSize)
		if _, err := d.ReadAt(block, torn.at); err != nil {
			t.Fatal(err)
		}
		if _, err := uboot.ParseBlock(block); !errors.Is(err, uboot.ErrBlock) {
			t.Fatalf("%s is not torn: %v", torn.what, err)
		}
		want := "a"
		if torn.at == uboot.StateOffset {
			want = "reset" // the copy says the same, so the trial goes on
		}
		if got := start(d); got != want {
			t.Errorf("%s: with %s torn: %q, want %q", m.Name, torn.what, got, want)
		}
	}
}
