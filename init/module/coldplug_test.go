package module

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestColdplugSeesDevicesOfEveryBus has one device that shows its alias in modalias and uevent, and
// one of a bus that shows it in uevent alone, and one with two aliases.
func TestColdplugSeesDevicesOfEveryBus(t *testing.T) {
	sys := t.TempDir()
	for file, text := range map[string]string{
		"bus/pci/devices/0000:00:01.0/modalias":      "pci:v00001AF4d00001042\n",
		"bus/pci/devices/0000:00:01.0/uevent":        "DRIVER=virtio-pci\nMODALIAS=pci:v00001AF4d00001042\n",
		"bus/sunxi-rsb/devices/sunxi-rsb-3a3/uevent": "OF_NAME=pmic\nMODALIAS=of:NpmicT(null)Cx-powers,axp803\n",
		"bus/acpi/devices/PRP0001:00/modalias":       "acpi:PRP0001:\nof:NsensorT(null)Cacme,sensor\n",
		"bus/cpu/devices/cpu0/uevent":                "DRIVER=processor\n",
	} {
		file = filepath.Join(sys, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := modaliases(sys)
	slices.Sort(got)
	want := []string{"acpi:PRP0001:", "of:NpmicT(null)Cx-powers,axp803", "of:NsensorT(null)Cacme,sensor", "pci:v00001AF4d00001042"}
	if !slices.Equal(got, want) {
		t.Errorf("modaliases = %q, want %q", got, want)
	}
}
