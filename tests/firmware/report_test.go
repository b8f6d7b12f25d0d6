package firmware

import (
	"strings"
	"testing"
)

func TestPlaceNamesEveryOverlapAndNothingElse(t *testing.T) {
	ram := At(0x1000, 0x9000)
	fw := []Load{{File: "loader", At: At(0x9000, 0x1000)}}
	for _, c := range []struct {
		name  string
		loads []Load
		want  []string // a part of each fault
	}{
		{"apart", []Load{{File: "k", At: At(0x1000, 0x1000)}, {File: "i", At: At(0x2000, 0x1000)}}, nil},
		{"into each other", []Load{{File: "k", At: At(0x1000, 0x1001)}, {File: "i", At: At(0x2000, 0x1000)}}, []string{"i at [0x2000, 0x3000) overlaps k"}},
		{"into the loader", []Load{{File: "k", At: At(0x8000, 0x1001)}}, []string{"overlaps loader"}},
		{"below memory", []Load{{File: "k", At: At(0xfff, 2)}}, []string{"k at [0xfff, 0x1001) is outside of memory"}},
		{"above memory", []Load{{File: "k", At: At(0x8fff, 0x1002)}}, []string{"outside of memory", "overlaps loader"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Report
			r.Place(ram, fw, c.loads)
			if len(r.Faults) != len(c.want) {
				t.Fatalf("faults %q, want %d", r.Faults, len(c.want))
			}
			for i, w := range c.want {
				if !strings.Contains(r.Faults[i], w) {
					t.Errorf("fault %q, want one with %q", r.Faults[i], w)
				}
			}
		})
	}
}

func TestReportPrintsFaultsAndLoads(t *testing.T) {
	r := Report{Machine: "m", Slot: "a"}
	r.Load("ROM", "bootcode.bin", 7, Range{})
	r.Faultf("no %s", "kernel")
	r.Faultf("no %s", "kernel")
	got := r.String()
	for _, want := range []string{"ROM", "bootcode.bin", "slot: a", "FAULT: no kernel"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("String() =\n%s\nwant %q once", got, want)
		}
	}
}

func TestSlotOfIsTheFolderAtTheTop(t *testing.T) {
	for path, want := range map[string]string{
		"slot-a/linux": "a", "/slot-b/dtb/x.dtb": "b", "linux": "", "": "", "slot-a": "", "/x/slot-a/linux": "", "slot-ab/linux": "", "slot-1/linux": "",
	} {
		if got := SlotOf(path); got != want {
			t.Errorf("SlotOf(%q) = %q, want %q", path, got, want)
		}
	}
}
