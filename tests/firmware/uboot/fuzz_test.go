package uboot

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware"
	"github.com/keelson-os/keelson/tests/firmware/disk"
)

func FuzzScript(f *testing.F) {
	f.Add([]byte("\x27\x05\x19\x56"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := Script(b); err == nil && len(text) > len(b) {
			t.Errorf("text of %d bytes in %d", len(text), len(b))
		}
	})
}

// FuzzShell runs made-up scripts: whatever they are, they end, and write nothing but the trial block without a fault.
func FuzzShell(f *testing.F) {
	f.Add("setenv a 600000; mmc dev 1; mmc read ${a} 7808 8 && env export -c -s 1000 ${a} a; mmc write ${a} 7808 8")
	f.Add("if test -n \"${a}\"; then run b; elif true; then for i in 1 2; do echo $i; done; fi")
	f.Add("booti 1 2:3 4\nload mmc 1:1 600000 x\npart start mmc 1 1 x\nsetexpr a 1 + ${b}\nenv import -t 600000 10")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parse(text)
		if err != nil {
			return
		}
		m := Rock64
		m.SetExpr = true
		d := disk.NewOverlay(zeros{})
		var r firmware.Report
		u := &run{m: m, disk: d, table: &disk.Table{}, report: &r, env: map[string]string{"devtype": "mmc"}, device: map[string]int{}, count: maxCommands - 200}
		if _, err := u.list(l); err != nil && err != errStop {
			t.Errorf("error %v", err)
		}
		var head [512]byte
		if _, err := d.ReadAt(head[:], 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(head[:], make([]byte, 512)) && !strings.Contains(strings.Join(r.Faults, " "), "only the trial block") {
			t.Error("the first sector was written to and nothing was said")
		}
	})
}

// zeros is an endless empty disk.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

func FuzzImported(f *testing.F) {
	f.Add([]byte("a=1\x00b=x\\\\y\x00\x00"), true)
	f.Add([]byte("# c\na=1\nb=\n=\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, zero bool) {
		sep := byte('\n')
		if zero {
			sep = 0
		}
		set, _, err := imported(b, sep)
		if err != nil {
			return
		}
		for k, v := range set {
			if k == "" || len(k)+len(v) > len(b) {
				t.Errorf("%q=%q of %q", k, v, b)
			}
		}
		for k := range set {
			if strings.ContainsAny(k, " \t#=\\") {
				return // U-Boot's export does not escape names
			}
		}
		if block, err := EnvBlock(set, BlockSize); err == nil {
			again, err := ParseBlock(block)
			if err != nil || !maps.Equal(set, again) {
				t.Errorf("%q came back as %q, %v", set, again, err)
			}
		}
	})
}
