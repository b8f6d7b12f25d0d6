package config

import (
	"slices"
	"testing"
)

func TestK3sKeysAreApart(t *testing.T) {
	if !slices.IsSorted(clusterKeys) {
		t.Error("clusterKeys is not sorted")
	}
	for _, k := range clusterKeys {
		if isOtherK3sKey(k) {
			t.Errorf("%s is listed as supported and as not supported", k)
		}
	}
	for k := range facts {
		if !isOtherK3sKey(k) {
			t.Errorf("%s is a fact but not among the refused keys", k)
		}
	}
	for _, k := range serverKeys {
		if !slices.Contains(clusterKeys, k) {
			t.Errorf("%s is a server's key but not among the supported ones", k)
		}
	}
}

func TestNearestFindsSlipsOnly(t *testing.T) {
	words := []string{"dhcp", "addresses", "gateway", "node-label"}
	for in, want := range map[string]string{
		"dchp": "dhcp", "adresses": "addresses", "Gateway": "gateway", "node_label": "node-label",
		"ipv4": "", "x": "", "": "", "routes": "",
	} {
		if got := nearest(in, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", in, got, want)
		}
	}
}
