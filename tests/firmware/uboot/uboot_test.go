package uboot_test

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/firmware/uboot"
	"github.com/keelson-os/keelson/tests/reftool"
)

const mib = handmade.MiB

// script is a small boot script with two slots and counted tries, for a ROCK64 (which has no setexpr).
const script = `# comment
setenv a 0x00600000; setenv ab_default; setenv ab_gen
setenv ab_try
setenv ab_left
setenv ab_tgen
${devtype} dev ${devnum}
if ${devtype} read ${a} 0x7800 8 && env import -c ${a} 0x1000 ab_default ab_gen; then
  echo "committed; ${ab_default}"
else
  setenv ab_default a
fi
setenv slot ${ab_default}
${devtype} read ${a} 0x7808 8 && env import -c ${a} 0x1000 ab_try ab_left ab_tgen
if test -n "${ab_try}" && test "${ab_tgen}" = "${ab_gen}"; then
  setenv n
  if test "${ab_left}" = 3; then setenv n 2; elif test "${ab_left}" = 2; then setenv n 1; elif test "${ab_left}" = 1; then setenv n 0; fi
  if test -n "${n}"; then
    setenv ab_left ${n}
    env export -c -s 0x1000 ${a} ab_try ab_left ab_tgen
    if ${devtype} write ${a} 0x7808 8; then setenv slot ${ab_try}; fi
  fi
fi
setenv from ${devtype} ${devnum}:${distro_bootpart}
load ${from} ${a} slot-${slot}/boot.env && env import -t ${a} ${filesize} args
if load ${from} ${kernel_addr_r} slot-${slot}/linux && load ${from} ${fdt_addr_r} slot-${slot}/dtb/${fdtfile} && load ${from} ${ramdisk_addr_r} slot-${slot}/initrd.img; then
  setenv bootargs "${args} slot=${slot}"
  booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}
fi
reset
`

func files(text string) map[string][]byte {
	f := map[string][]byte{"boot.scr": handmade.Script(text)}
	for _, s := range []string{"slot-a/", "slot-b/"} {
		f[s+"linux"] = handmade.Kernel(64<<10, 8*mib)
		f[s+"initrd.img"] = []byte("initrd of " + s)
		f[s+"boot.env"] = []byte("# comment\nargs=console=ttyS2 root=" + s + "\n")
		f[s+"dtb/rockchip/rk3328-rock64.dtb"] = handmade.Board("pine64,rock64")
	}
	return f
}

func block(t testing.TB, vars map[string]string) []byte {
	t.Helper()
	b, err := uboot.EnvBlock(vars, uboot.BlockSize)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// image makes a disk with GPT; committed and trial are the two blocks of its boot state.
func image(t testing.TB, files map[string][]byte, committed, trial []byte) []byte {
	t.Helper()
	b := make([]byte, 60*mib)
	handmade.GPT(b, 128,
		handmade.Part{Start: 16 * mib, Size: 40 * mib, Type: disk.TypeESP, Name: "esp"},
		handmade.Part{Start: 15 * mib, Size: mib, Type: "0fc63daf-8483-4772-8e79-3d69d8477de4", Name: "bootstate"})
	copy(b[16*mib:], handmade.FAT(t, 40*mib, files))
	copy(b[uboot.StateOffset:], committed)
	copy(b[uboot.TrialOffset:], trial)
	return b
}

func good(t testing.TB) []byte {
	return image(t, files(script), block(t, map[string]string{"ab_default": "a", "ab_gen": "1"}), block(t, nil))
}

func start(t testing.TB, d *disk.Overlay, size int, m uboot.Machine) firmware.Report {
	t.Helper()
	r, err := uboot.Start(d, int64(size), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGoodDiskBootsTheDefaultSlot(t *testing.T) {
	b := good(t)
	r, err := uboot.Check(bytes.NewReader(b), int64(len(b)), uboot.Rock64)
	if err != nil {
		t.Fatal(err)
	}
	handmade.WantFault(t, r, "")
	if r.Slot != "a" || r.Kernel != "slot-a/linux" || r.Initrd != "slot-a/initrd.img" || r.DeviceTree != "slot-a/dtb/rockchip/rk3328-rock64.dtb" || r.Cmdline != "console=ttyS2 root=slot-a/ slot=a" {
		t.Errorf("%s", r)
	}
	// 0x02080000 is no multiple of 2 MiB: booti moves the kernel up.
	if at := r.Loads[len(r.Loads)-3].At; at.Start != 0x02200000 || at.End-at.Start != 8*mib {
		t.Errorf("the kernel runs at %s, want 8 MiB at 0x2200000", at)
	}
}

// TestTrialSequence starts the disk again and again: three tries of slot b, then slot a for good.
func TestTrialSequence(t *testing.T) {
	committed := block(t, map[string]string{"ab_default": "a", "ab_gen": "7"})
	torn := func(b []byte) []byte { b[600]++; return b }
	for _, c := range []struct {
		name             string
		committed, trial []byte
		want             string
	}{
		{"three tries", committed, block(t, map[string]string{"ab_try": "b", "ab_left": "3", "ab_tgen": "7"}), "bbbaa"},
		{"one try", committed, block(t, map[string]string{"ab_try": "b", "ab_left": "1", "ab_tgen": "7"}), "baa"},
		{"of an older generation", committed, block(t, map[string]string{"ab_try": "b", "ab_left": "3", "ab_tgen": "6"}), "aa"},
		{"torn trial block", committed, torn(block(t, map[string]string{"ab_try": "b", "ab_left": "3", "ab_tgen": "7"})), "aa"},
		{"nothing there", make([]byte, uboot.BlockSize), make([]byte, uboot.BlockSize), "aa"},
		{"torn committed block", torn(bytes.Clone(committed)), block(t, map[string]string{"ab_try": "b", "ab_left": "3", "ab_tgen": "7"}), "aa"},
		{"default b", block(t, map[string]string{"ab_default": "b", "ab_gen": "8"}), block(t, map[string]string{"ab_try": "b", "ab_left": "0", "ab_tgen": "7"}), "bb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := image(t, files(script), c.committed, c.trial)
			d := disk.NewOverlay(bytes.NewReader(b))
			got := ""
			for range len(c.want) {
				r := start(t, d, len(b), uboot.Rock64)
				handmade.WantFault(t, r, "")
				got += r.Slot
			}
			if got != c.want {
				t.Errorf("slots %q, want %q", got, c.want)
			}
		})
	}
}

func TestOneBrokenDetailIsFound(t *testing.T) {
	replace := func(from, to string) map[string][]byte {
		if !strings.Contains(script, from) {
			t.Fatalf("the script has no %q", from)
		}
		return files(strings.Replace(script, from, to, 1))
	}
	with := func(name string, data []byte) map[string][]byte {
		f := files(script)
		if f[name] = data; data == nil {
			delete(f, name)
		}
		return f
	}
	spoil := func(at int) map[string][]byte {
		f := files(script)
		f["boot.scr"][at] ^= 1
		return f
	}
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"extlinux.conf", with("extlinux/extlinux.conf", []byte("x")), "extlinux.conf is taken before"},
		{"EFI program", with("EFI/BOOT/BOOTAA64.EFI", []byte("MZ")), "BOOTAA64.EFI is started before"},
		{"another script first", with("boot.scr.uimg", []byte("x")), "boot.scr.uimg"},
		{"no script", with("boot.scr", nil), "no boot.scr"},
		{"header CRC", spoil(40), "CRC32 of the header"},
		{"data CRC", spoil(100), "CRC32 of the data"},
		{"no kernel", with("slot-a/linux", nil), "slot-a/linux"},
		{"kernel without header", with("slot-a/linux", []byte("x")), "no arm64 kernel image"},
		{"kernel that reaches the initrd", with("slot-a/linux", handmade.Kernel(4096, 0x6000000-0x2200000+1)), "overlaps"},
		{"no device tree", with("slot-a/dtb/rockchip/rk3328-rock64.dtb", nil), "rk3328-rock64.dtb"},
		{"broken device tree", with("slot-a/dtb/rockchip/rk3328-rock64.dtb", []byte("x")), "no device tree (d00dfeed)"},
		{"no environment of the slot", with("slot-a/boot.env", nil), "boot.env"},
		{"quote in the command line", with("slot-a/boot.env", []byte("args=a='b'\n")), "single quote"},
		{"long command line", with("slot-a/boot.env", []byte("args="+strings.Repeat("x", 2050)+"\n")), "the kernel takes 2047"},
		{"wrong device", replace("${devtype} dev ${devnum}", "echo"), "the current device is mmc 0"},
		{"unknown command", replace("reset\n", "fatinfo\n"), ""},
		{"setexpr on a board without", replace("# comment", "setexpr x 1 + 2"), "has no such command"},
		{"writes the committed block", files("${devtype} dev ${devnum}\n${devtype} read 0x600000 7800 8\n${devtype} write 0x600000 7800 8\n" + script), "only the trial block"},
		{"initrd over the kernel", replace("load ${from} ${ramdisk_addr_r}", "load ${from} ${kernel_addr_r}"), "slot-a/initrd.img: no arm64 kernel image"},
		{"scratch over the device tree", replace("  setenv bootargs", "  ${devtype} read ${fdt_addr_r} 0 8\n  setenv bootargs"), "no device tree (d00dfeed)"},
		{"size forgotten", replace(":${filesize}", ""), "want ADDRESS:SIZE"},
		{"outside of memory", replace("setenv a 0x00600000", "setenv a 0x100000"), "is outside of memory"},
		{"into U-Boot", replace("setenv a 0x00600000", "setenv a 0x3ff00000"), "overlaps U-Boot itself"},
		{"if without fi", replace("\nfi\nreset", "\nreset"), `want "fi"`},
		{"a pipe", replace("# comment", "echo a | echo b"), "alone is not supported"},
		{"slots mixed", replace("slot-${slot}/initrd.img", "slot-b/initrd.img"), "slot-b/initrd.img with the kernel slot-a/linux"},
		{"ends", files("echo nothing\n"), "nothing is booted"},
		{"for ever", files("setenv x run x\nrun x\n"), "goes round in a circle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := image(t, c.files, block(t, map[string]string{"ab_default": "a", "ab_gen": "1"}), block(t, nil))
			r := start(t, disk.NewOverlay(bytes.NewReader(b)), len(b), uboot.Rock64)
			if c.want == "" {
				handmade.WantFault(t, r, "")
				return
			}
			if !strings.Contains(strings.Join(r.Faults, "\n"), c.want) {
				t.Errorf("want a fault with %q in it:\n%s", c.want, r)
			}
		})
	}
}

// Only partitions with the boot flag count as soon as one has it.
func TestOnlyBootablePartitionsAreScanned(t *testing.T) {
	b := make([]byte, 64*mib)
	handmade.MBR(b, handmade.Part{Start: 16 * mib, Size: 40 * mib, Type: "0x0c"}, handmade.Part{Start: 56 * mib, Size: mib, Type: "0x83", Bootable: true})
	copy(b[16*mib:], handmade.FAT(t, 40*mib, files(script)))
	r := start(t, disk.NewOverlay(bytes.NewReader(b)), len(b), uboot.Rock64)
	handmade.WantFault(t, r, "no partition that U-Boot boots from")
}

func TestShell(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"word splitting", `setenv x "a  b"; setenv y ${x}`, "a b"},
		{"quotes keep blanks", `setenv x "a  b"; setenv y "${x}"`, "a  b"},
		{"an empty word goes", `setenv y a ${none} b`, "a b"},
		{"single quotes", `setenv y '${x} "z"'`, `${x} "z"`},
		{"backslash", `setenv y a\ b`, "a b"},
		{"line goes on", "setenv y a\\\nb", "ab"},
		{"comment inside of a word", `setenv y a#b # c`, "a#b"},
		{"and or", `false && setenv y 1 || setenv y 2`, "2"},
		{"or and", `true || setenv y 1 && setenv y 2`, "2"},
		{"else", `if false; then setenv y 1; else setenv y 2; fi`, "2"},
		{"elif", `if false; then setenv y 1; elif true; then setenv y 2; else setenv y 3; fi`, "2"},
		{"for", `for i in 1 2 3; do setenv y ${y}${i}; done`, "123"},
		{"status", `false; if test $? = 1; then setenv y 1; fi`, "1"},
		{"test -n without quotes is false", `if test -n ${none}; then setenv y 1; else setenv y 2; fi`, "2"},
		{"test not, and", `if test ! a = b -a 2 -lt 0x3; then setenv y 1; fi`, "1"},
		{"delete", `setenv y 1; setenv y; env exists y || setenv y gone`, "gone"},
		{"run", `setenv r 'setenv y 1'; run r`, "1"},
		{"setexpr", `setexpr y 0xa + 6`, "10"},
		{"part", `part start ${devtype} ${devnum} 1 y`, "8000"},
		{"part by name", `part size ${devtype} ${devnum} bootstate y`, "800"},
		{"size", `size ${devtype} ${devnum}:1 slot-a/linux; setenv y ${filesize}`, "10000"},
		{"test -e", `if test -e ${devtype} ${devnum}:1 slot-a/none; then setenv y 1; else setenv y 2; fi`, "2"},
		{"export and import", `setenv a 'x\y'; env export -c -s 100 600000 a; setenv a; env import -c 600000 100 a; setenv y ${a}`, `x\y`},
		{"import of a damaged block", `setenv y 1; ${devtype} dev ${devnum}; ${devtype} read 600000 0 8; env import -c 600000 1000 y || setenv y bad`, "bad"},
		{"import keeps what the block has not", `setenv y 1; setenv a 2; env export -c -s 100 600000 a; env import -c 600000 100 y`, "1"},
		{"import -d deletes it", `setenv y 1; setenv a 2; env export -c -s 100 600000 a; env import -d -c 600000 100 y; setenv y <${y}>`, "<>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := uboot.Rock64
			m.SetExpr = true
			text := c.script + "\nload ${devtype} ${devnum}:1 ${kernel_addr_r} slot-a/linux; load ${devtype} ${devnum}:1 ${fdt_addr_r} slot-a/dtb/${fdtfile}; load ${devtype} ${devnum}:1 ${ramdisk_addr_r} slot-a/initrd.img\nsetenv bootargs \"<${y}>\"; booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr_r}\n"
			if strings.Contains(c.want, "<") {
				text = strings.ReplaceAll(text, `"<${y}>"`, `"${y}"`)
			}
			b := image(t, files(text), nil, nil)
			r := start(t, disk.NewOverlay(bytes.NewReader(b)), len(b), m)
			if got := strings.TrimSuffix(strings.TrimPrefix(r.Cmdline, "<"), ">"); got != strings.Trim(c.want, "<>") {
				t.Errorf("y = %q, want %q:\n%s", got, c.want, r)
			}
			handmade.WantFault(t, r, "")
		})
	}
}

// env export -c clears ENV_SIZE bytes, whatever -s says: what is behind a scratch block of 4 KiB is lost.
func TestExportReachesBeyondItsSize(t *testing.T) {
	text := strings.Replace(script, "setenv bootargs", "env export -c -s 0x1000 0x01dfc000 slot\n  setenv bootargs", 1)
	b := image(t, files(text), nil, nil)
	r := start(t, disk.NewOverlay(bytes.NewReader(b)), len(b), uboot.Rock64)
	if !strings.Contains(strings.Join(r.Faults, "\n"), "was overwritten by env export") {
		t.Errorf("an export over the device tree is no fault:\n%s", r)
	}
}

func TestPiPassesTheFirmwaresTreeOn(t *testing.T) {
	text := "load mmc 0:1 0x4000000 slot-a/linux\nload mmc 0:1 0x8000000 slot-a/initrd.img\nsetenv bootargs x\nbooti 0x4000000 0x8000000:${filesize} ${fdt_addr}\n"
	b := image(t, files(text), nil, nil)
	m := uboot.Pi("Pi", firmware.Range{End: 0x3b400000}, handmade.Board("raspberrypi,4-model-b"))
	r := start(t, disk.NewOverlay(bytes.NewReader(b)), len(b), m)
	handmade.WantFault(t, r, "")
	if r.DeviceTree != "the firmware's device tree" {
		t.Errorf("device tree %q", r.DeviceTree)
	}
	b = image(t, files(strings.ReplaceAll(text, "0x8000000", "0x2eff0000")), nil, nil)
	r = start(t, disk.NewOverlay(bytes.NewReader(b)), len(b), m)
	handmade.WantFault(t, r, "overlaps the firmware's device tree")
}

func TestScriptOfMkimageIsRead(t *testing.T) {
	mkimage := reftool.Need(t, "mkimage", "u-boot-tools")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "boot.cmd"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "boot.scr")
	if msg, err := exec.Command(mkimage, "-A", "arm64", "-T", "script", "-C", "none", "-n", "test", "-d", filepath.Join(dir, "boot.cmd"), out).CombinedOutput(); err != nil {
		t.Fatalf("mkimage: %v\n%s", err, msg)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := uboot.Script(data); err != nil || got != script {
		t.Errorf("Script: %v, %d characters, want %d", err, len(got), len(script))
	}
	if _, err := uboot.Script(handmade.Script("")); !errors.Is(err, uboot.ErrNotScript) {
		t.Errorf("an empty script: %v", err)
	}
}

func TestMachinesLeaveRoomForWhatTheyName(t *testing.T) {
	for _, m := range []uboot.Machine{uboot.Rock64, uboot.RockPro64, uboot.Pine64, uboot.Pine64LTS} {
		if m.Memory.Empty() || len(m.Reserved) == 0 || m.EnvSize == 0 || !maps.Equal(m.Env, maps.Clone(m.Env)) || m.Env["fdtfile"] == "" {
			t.Errorf("%s: %+v", m.Name, m)
		}
		for _, r := range m.Reserved {
			if !r.At.Within(m.Memory) {
				t.Errorf("%s: %s at %s is not in memory %s", m.Name, r.File, r.At, m.Memory)
			}
		}
	}
}
