package cni

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestConflistNamesSubnetAndMTU(t *testing.T) {
	text, err := Config{PodCIDR: netip.MustParsePrefix("10.42.3.0/24"), MTU: 1450, DataDir: "/run/x"}.Conflist()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		CNIVersion, Name string
		Plugins          []struct {
			Type, Backend string
			MTU           int
			IPAM          struct {
				DataDir string
				Ranges  [][]struct{ Subnet string }
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Plugins) != 2 || got.Plugins[0].Type != "bridge" || got.Plugins[0].MTU != 1450 || got.Plugins[0].IPAM.Ranges[0][0].Subnet != "10.42.3.0/24" || got.Plugins[1].Backend != "nftables" {
		t.Errorf("Conflist() = %s", text)
	}
}

func TestConflistRefusesNoAndIPv6Prefix(t *testing.T) {
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("fd00::/64")} {
		if _, err := (Config{PodCIDR: p}).Conflist(); err == nil {
			t.Errorf("Conflist(%v) = nil error, want one", p)
		}
	}
}

func TestWriteLeavesAnEqualFileAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net.d")
	c := Config{PodCIDR: netip.MustParsePrefix("10.42.0.0/24"), MTU: 1450}
	if err := Write(dir, c); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, c); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("Write replaced an equal file")
	}
	c.MTU = 1400
	if err := Write(dir, c); err != nil {
		t.Fatal(err)
	}
	if after, err = os.Stat(filepath.Join(dir, FileName)); err != nil || os.SameFile(before, after) {
		t.Errorf("Write kept the old file, %v", err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("Remove() of nothing = %v, want nil", err)
	}
}
