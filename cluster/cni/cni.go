// Package cni writes the node's CNI configuration. containerd watches the folder: the
// node's network is ready as soon as the file is there.
package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// FileName is the configuration's name in containerd's folder; k3s's.
const FileName = "10-flannel.conflist"

// Config is what differs from node to node.
type Config struct {
	PodCIDR netip.Prefix // this node's
	MTU     int          // of pods, bytes
	// DataDir is where host-local keeps which address is taken. It must not outlive a boot:
	// after a power cut nobody gives the addresses of lost pods back.
	DataDir string
}

type plugin map[string]any

// Conflist is the configuration: a bridge with an address per pod, and host ports.
func (c Config) Conflist() ([]byte, error) {
	if !c.PodCIDR.IsValid() || !c.PodCIDR.Addr().Is4() {
		return nil, fmt.Errorf("CNI configuration: pod CIDR %v: want an IPv4 prefix", c.PodCIDR)
	}
	list := map[string]any{
		"cniVersion": "1.0.0",
		"name":       "cbr0",
		"plugins": []plugin{{
			"type":             "bridge",
			"bridge":           "cni0",
			"isGateway":        true,
			"isDefaultGateway": true,
			"hairpinMode":      true, // a pod must reach itself through its Service
			"ipMasq":           false,
			"mtu":              c.MTU,
			"ipam": plugin{
				"type":    "host-local",
				"ranges":  [][]plugin{{{"subnet": c.PodCIDR.Masked().String()}}},
				"dataDir": c.DataDir,
			},
		}, {
			"type":         "portmap",
			"capabilities": plugin{"portMappings": true},
			"backend":      "nftables", // else it looks for iptables, which is not there
			"snat":         true,
		}},
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// Write puts the configuration into dir in one step, unless it is there already.
func Write(dir string, c Config) error {
	text, err := c.Conflist()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, FileName)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(text) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := path + ".new" // containerd reads *.conf, *.conflist and *.json only
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Remove takes the configuration away.
func Remove(dir string) error {
	if err := os.Remove(filepath.Join(dir, FileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
