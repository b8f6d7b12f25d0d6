// Package sysctl sets kernel parameters.
package sysctl

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Setting is one kernel parameter and its value.
type Setting struct {
	Key, Value string // "net.ipv4.ip_forward"
}

// Node is what a Kubernetes node needs. vm.overcommit_memory, vm.panic_on_oom,
// kernel.panic, kernel.panic_on_oops and the key quotas are what the kubelet wants to find
// with protectKernelDefaults.
// Source: k8s.io/component-helpers/node/util/sysctl.
var Node = []Setting{
	{"net.ipv4.ip_forward", "1"},
	{"net.bridge.bridge-nf-call-iptables", "1"},
	{"net.bridge.bridge-nf-call-ip6tables", "1"},
	{"vm.overcommit_memory", "1"},
	{"vm.panic_on_oom", "0"},
	{"kernel.panic", "10"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.keys.root_maxkeys", "1000000"},
	{"kernel.keys.root_maxbytes", "25000000"},
	// Every pod with a file watcher takes some; the kernel's 128 instances are used up
	// by a dozen of them.
	{"fs.inotify.max_user_instances", "8192"},
	{"fs.inotify.max_user_watches", "524288"},
	{"kernel.pid_max", "4194304"},
	// Search engines refuse to start with the kernel's 65530.
	{"vm.max_map_count", "262144"},
	// No unprivileged process needs the kernel's addresses or its log.
	{"kernel.kptr_restrict", "1"},
	{"kernel.dmesg_restrict", "1"},
	// Consoles take no input: no SysRq keys, on a keyboard or by a break on a serial line.
	{"kernel.sysrq", "0"},
}

// Apply writes settings below dir (/proc/sys). It goes on after an error.
func Apply(dir string, settings []Setting) error {
	var errs []error
	for _, s := range settings {
		path := filepath.Join(dir, strings.ReplaceAll(s.Key, ".", "/"))
		if err := os.WriteFile(path, []byte(s.Value), 0); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
