package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/clock"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/module"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/network"
	"github.com/keelson-os/keelson/init/seed"
	"github.com/keelson-os/keelson/init/state"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/sysctl"
	"github.com/keelson-os/keelson/init/uevent"
)

// needed are the modules without which the next steps fail: the file systems of the state
// partition and the ESP with the character sets of FAT names.
var needed = []string{"ext4", "vfat", "nls_cp437", "nls_ascii"}

// preloaded are the modules a node needs and no device asks for. The kernel would load
// most by itself, through /sbin/modprobe, but each such call costs a process.
var preloaded = []string{
	"overlay", "br_netfilter", "vxlan", "veth", "dummy", "loop", "af_packet",
	"nf_conntrack", "nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "nft_redir",
	"nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6", "nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6",
	"nft_limit", "nft_log", "nft_numgen", "nft_hash", "nft_objref",
	"evdev", "button", // the power button
}

const (
	// addressWait is how long the boot waits for an address before it goes on without.
	addressWait = 20 * time.Second
	// timeWait is how long a machine without a believable clock waits for NTP before
	// certificates are made.
	timeWait = 20 * time.Second
)

// mounts must come first: everything needs /proc, /sys and /dev, and the services need
// their cgroups.
func (s *system) mounts(merr error) (string, error) {
	err := errors.Join(merr, mount.ShareRoot(), mount.Cgroups())
	return mountsNote(s.boot.RootHash), err
}

// modules needs /sys. Only what the next steps need is loaded here; the rest goes on
// beside them (devices).
func (s *system) modules(context.Context) (string, error) {
	dir, err := module.Dir()
	if err != nil {
		return "", err
	}
	s.loader, err = module.Open(dir, s.params.ModuleOptions)
	if err != nil {
		return "", step.Advise(err, "kernel and root must be of one build: write the image again")
	}
	return "", s.loader.LoadAll(needed)
}

// devices loads the modules of the machine's devices and those of Kubernetes, and then
// serves devices that appear later; beside that it opens the watchdog as soon as there is
// one. It runs beside the boot.
func (s *system) devices(ctx context.Context) {
	coldplugged := sync.OnceFunc(func() { close(s.coldplugged) })
	defer coldplugged()
	if s.loader == nil {
		return
	}
	events, err := uevent.Listen()
	if err != nil {
		s.con.Printf("devices: %v", err)
		return
	}
	defer events.Close()
	s.background(ctx, "watchdog", func() { s.openWatchdog(ctx) })
	// The network's drivers first: a link takes seconds to come up.
	s.steps.Run("devices", func() (string, error) {
		n, err := s.loader.Coldplug("/sys")
		return fmt.Sprintf("%d", n), err
	})
	coldplugged()
	s.steps.Run("node-modules", func() (string, error) { return "", s.loader.LoadAll(preloaded) })
	if names, err := module.Listed(module.ListDir); len(names) > 0 || err != nil {
		s.steps.Run("named-modules", func() (string, error) {
			err := errors.Join(err, s.loader.LoadNamed(names))
			return strings.Join(names, " "), step.Advise(err, "name modules of this kernel, whose devices are there, with keelson build --module or in /etc/modules-load.d")
		})
	}
	s.loader.Forget()
	debug.FreeOSMemory() // the boot's garbage; from here on little is allocated
	err = s.loader.Hotplug(ctx, events, func(err error) { s.con.Printf("devices: %v", err) })
	if err != nil {
		s.con.Printf("devices: %v", err)
	}
}

// state needs the module ext4. Afterwards the log goes to the disk.
func (s *system) state(context.Context) (string, error) {
	if s.boot.Disk == "" {
		return "", step.Advise(errors.New("it is not known which disk we were booted from: there was no initramfs stage"),
			"boot the image as it was built")
	}
	o := state.Opener{Sys: "/sys", Disk: s.boot.Disk, Run: s.run, Say: s.con.Printf}
	r, err := o.Open()
	if err == nil {
		err = state.Bind()
	}
	if err != nil {
		var advice *step.Advice
		if !errors.As(err, &advice) {
			err = step.Advise(err, "power the machine off and on; if this comes back, the disk is failing: "+
				"save what is on its state partition on another machine, then replace it")
		}
		return "", err
	}
	s.readLastBoot() // before this one writes to the same file
	log := logfile.New(config.LogDir, "init", initLogSize, initLogKeep)
	s.con.SetLog(log)
	s.mu.Lock()
	s.stateUp, s.log = true, log
	s.mu.Unlock()
	return r.String(), nil
}

func (s *system) run(cmd *exec.Cmd) ([]byte, error) { return s.reaper.Output(cmd) }

// identity needs the state partition: the machine id and the random seed are on it.
func (s *system) identity(context.Context) (string, error) {
	if !s.stateUp {
		return "skipped: no state partition", nil
	}
	bits, serr := seed.Restore(state.Dir)
	id, err := state.MachineID(state.Dir)
	if err != nil {
		return "", errors.Join(err, serr)
	}
	s.mu.Lock()
	s.machineID = id
	s.mu.Unlock()
	return fmt.Sprintf("random seed of %d bits", bits), errors.Join(serr, state.BindMachineID(state.Dir))
}

// hostname needs the config and the machine id.
func (s *system) hostname(context.Context) (string, error) {
	name := "keelson"
	switch {
	case s.cfg != nil && s.cfg.Hostname != "":
		name = s.cfg.Hostname
	case s.machineID != "":
		name = network.DeriveHostname(s.machineID)
	}
	return name, errors.Join(network.SetHostname(name), network.WriteHosts(config.HostsFile, name))
}

// sysctls needs br_netfilter, which brings some of the parameters.
func (s *system) sysctls(context.Context) (string, error) {
	var err error
	if s.loader != nil {
		err = s.loader.Load("br_netfilter")
	}
	settings := sysctl.Node
	var info unix.Sysinfo_t
	if infoErr := unix.Sysinfo(&info); infoErr != nil {
		err = errors.Join(err, os.NewSyscallError("sysinfo", infoErr))
	} else {
		settings = append(slices.Clone(settings), sysctl.MinFree(uint64(info.Totalram)*uint64(info.Unit)>>10))
	}
	return "", errors.Join(err, sysctl.Apply("/proc/sys", settings))
}

// network needs the config and the host name, which DHCP sends.
func (s *system) network(ctx context.Context) (string, error) {
	if s.cfg == nil {
		return "skipped: no configuration", nil
	}
	net, err := network.Start(ctx, s.cfg.Network, s.con.Printf)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.net = net
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, addressWait)
	defer cancel()
	// Without its driver a link is not there, and not worth waiting for.
	select {
	case <-s.coldplugged:
	case <-ctx.Done():
	}
	return s.net.Wait(ctx), nil
}

// clock needs the network for NTP and the state partition for the floor.
func (s *system) clock(ctx context.Context) (string, error) {
	dir := ""
	if s.stateUp {
		dir = state.Dir
	}
	trusted := s.trusted && clock.Trusted(s.build.Time, dir)
	raised, err := clock.Floor(s.build.Time, dir)
	if err != nil {
		s.con.Printf("clock: %v", err) // the build time is a floor all the same
	}
	note := "trusted"
	if raised || !trusted {
		note = "was behind; set to the last known time"
	}
	if s.cfg == nil || s.net == nil || len(s.cfg.Clock.Servers) == 0 {
		s.background(ctx, "clock", func() { clock.Hold(ctx, s.build.Time, dir, s.con.Printf) })
		return note + ", no NTP", nil
	}
	servers := func() []string { return clock.Servers(s.cfg.Clock.Servers, s.net.NTPServers()) }
	c := clock.Start(ctx, s.build.Time, servers, dir, s.con.Printf)
	s.mu.Lock()
	s.ntp = c
	s.mu.Unlock()
	if trusted {
		return note, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeWait)
	defer cancel()
	if err := c.WaitSynced(ctx); err != nil {
		return "", step.Advise(fmt.Errorf("this machine has no clock that keeps time, and %w", err),
			"connect it to a network with one of these servers; the node starts with the last known time")
	}
	return "set by NTP", nil
}

// save writes what the next boot wants, and closes the logs.
func (s *system) save() {
	if err := clock.Save(state.Dir); err != nil {
		s.con.Printf("%v", err)
	}
	if err := seed.Save(state.Dir); err != nil {
		s.con.Printf("%v", err)
	}
	s.con.SetLog(nil)
	s.log.Close()
}
