package boot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-os/keelson/init/cmdline"
)

func TestBootESPIsTheEFIVariableElseTheParameter(t *testing.T) {
	const uuid = "0c2f1d6e-8a3b-4c5d-9e7f-001122334455"
	efi := t.TempDir()
	variable := []byte{7, 0, 0, 0}
	for _, c := range []byte("ABCD") {
		variable = append(variable, c, 0)
	}
	if err := os.WriteFile(filepath.Join(efi, "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"), variable, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, efivars, line, want string }{
		{"no boot loader said", t.TempDir(), "quiet", ""},
		{"GRUB found none", t.TempDir(), "keelson.esp=", ""},
		{"GRUB", t.TempDir(), "keelson.slot=a keelson.esp=0C2F1D6E-8a3b-4c5d-9e7f-001122334455", uuid},
		{"UEFI", efi, "quiet", "abcd"},
		{"UEFI, and a parameter", efi, "keelson.esp=" + uuid, "abcd"},
	} {
		if got := bootESP(c.efivars, cmdline.Parse(c.line)); got != c.want {
			t.Errorf("%s: bootESP = %q, want %q", c.name, got, c.want)
		}
	}
}
