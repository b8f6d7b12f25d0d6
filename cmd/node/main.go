// Command node is the Kubernetes node: the control plane, containerd, the kubelet and
// the network in one process. Called as kubectl or ctr, it is that program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/keelson-os/keelson/cluster"
	"github.com/keelson-os/keelson/cluster/layout"
	"github.com/keelson-os/keelson/cluster/memory"
	"github.com/keelson-os/keelson/cluster/notify"
	"github.com/keelson-os/keelson/config"
)

// version is Keelson's, set by the linker.
var version = "devel"

func main() {
	switch filepath.Base(os.Args[0]) {
	case "kubectl":
		os.Exit(kubectl())
	case "ctr":
		os.Exit(ctr(os.Args))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	l := layout.Default()
	fs := flag.NewFlagSet("node", flag.ContinueOnError)
	file := fs.String("config", config.File, "machine configuration")
	fs.StringVar(&l.Data, "data-dir", l.Data, "folder on the state partition")
	fs.StringVar(&l.Run, "run-dir", l.Run, "sockets and what a reboot may lose")
	fs.StringVar(&l.Etc, "etc-dir", l.Etc, "folder of the administrator's kubeconfig")
	fs.StringVar(&l.Kubelet, "kubelet-dir", l.Kubelet, "kubelet's folder")
	fs.StringVar(&l.CNIBin, "cni-bin-dir", l.CNIBin, "CNI plugins")
	fs.StringVar(&l.Images, "images-dir", l.Images, "OCI archives that come with the system")
	fs.StringVar(&l.Hosts, "hosts-file", l.Hosts, "file that /etc/hosts links to")
	fs.StringVar(&l.Resolv, "resolv-file", l.Resolv, "file that /etc/resolv.conf links to")
	verbosity := fs.Int("v", -1, "how much upstream's components log: -1 warnings only, 0 and up as klog's -v")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; run node -h", fs.Arg(0))
	}
	if err := setLogging(*verbosity); err != nil {
		return err
	}
	if err := memory.Start(); err != nil {
		return err
	}
	c, err := config.Load(*file)
	if err != nil {
		return err
	}
	n, err := notify.FromEnvironment()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.Info("keelson node", "version", version)
	return cluster.Run(ctx, c, l, log, n)
}
