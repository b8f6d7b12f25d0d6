// Command init is a node's first process. What it does depends on how it is called:
//
//   - as PID 1 in an initramfs (where /etc/initrd-release marks one) it finds the verified
//     root, mounts it and starts the /init in it;
//   - as PID 1 elsewhere it is the system's init;
//   - as modprobe it loads kernel modules, for the kernel and for Kubernetes.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/keelson-os/keelson/init/boot"
	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/module"
	"github.com/keelson-os/keelson/init/system"
)

// Set by the linker, -X main.version=… -X main.buildEpoch=….
var (
	version    = "unknown"
	buildEpoch = "0" // seconds since 1970
)

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		os.Exit(modprobe(os.Args[1:]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintf(os.Stderr, "init %s: this program is PID 1 of a Keelson node, and modprobe when called by that name\n", version)
		os.Exit(2)
	}
	if _, err := os.Stat(boot.Marker); err == nil {
		boot.Run()
	}
	seconds, _ := strconv.ParseInt(buildEpoch, 10, 64)
	system.Run(system.Build{Version: version, Time: time.Unix(seconds, 0)})
}

func modprobe(args []string) int {
	dir, err := module.Dir()
	if err == nil {
		params, _ := cmdline.Read()
		var l *module.Loader
		if l, err = module.Open(dir, params.ModuleOptions); err == nil {
			return module.Modprobe(args, l, os.Stdout, os.Stderr)
		}
	}
	fmt.Fprintf(os.Stderr, "modprobe: %v\n", err)
	return 1
}
