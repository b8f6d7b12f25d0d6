// Command machined serves the machine API of a node: status, logs, upgrades, power. PID 1 starts it, before Kubernetes, and starts it
// again when it ends; it asks PID 1 over its socket for everything that only PID 1 can do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/api"
	"github.com/keelson-os/keelson/init/api/slots"
	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/running"
	"github.com/keelson-os/keelson/machine"
)

// version is Keelson's, set by the linker; the kernel command line's counts if it has one.
var version = "unknown"

// A node has better uses for memory. The limit is for an upgrade, whose bundle's index is in memory.
const (
	garbagePercent = 40
	memoryLimit    = 64 << 20
)

func main() {
	debug.SetGCPercent(garbagePercent)
	debug.SetMemoryLimit(memoryLimit)
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "machined: level=ERROR", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("machined", flag.ContinueOnError)
	file := flags.String("config", config.File, "machine configuration")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	c, err := config.Load(*file)
	if err != nil {
		return err
	}
	server, err := api.New(c)
	if err != nil {
		return err
	}
	server.Log = log
	params, err := cmdline.Read()
	if err != nil {
		return err
	}
	server.System = running.Parse(params)
	if server.System.Version == "" {
		server.System.Version = version
	}
	// Without a hand-off there was no initramfs stage: slots cannot be told apart, all else works.
	if server.Boot, err = handoff.Load(handoff.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	disk := slots.New(server.Boot, server.System)
	disk.Connected = func() bool {
		s, err := server.Control.Status(ctx)
		return err == nil && len(s.Addresses) > 0
	}
	server.Slots = disk
	outside, err := api.Listen()
	if err != nil {
		return err
	}
	inside, err := control.Listen(machine.Socket)
	if err != nil {
		return errors.Join(err, outside.Close())
	}
	if err := ready(os.Getenv("NOTIFY_SOCKET")); err != nil {
		log.Warn("PID 1 was not told that the machine API listens", "error", err)
	}
	log.Info("machine API", "version", server.System.Version, "port", machine.Port)
	debug.FreeOSMemory() // what reading the configuration took
	return server.Serve(ctx, outside, inside)
}

// ready tells PID 1 that the ports are open. Source: sd_notify(3).
func ready(socket string) error {
	if socket == "" {
		return nil
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("READY=1\n"))
	return errors.Join(err, conn.Close())
}
