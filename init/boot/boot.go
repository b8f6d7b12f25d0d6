// Package boot is the initramfs stage: from the kernel's first process to the verified
// root.
//
//  1. mount /proc, /sys, /dev and /run;
//  2. load the storage modules;
//  3. wait for the disk we were booted from and find the slot whose root hash is the one
//     on the kernel command line;
//  4. open it with dm-verity and mount it read-only;
//  5. free the initramfs, make the root "/" and start its /init.
//
// It leaves /run/keelson/boot.json (package handoff). When it cannot go on it says why,
// and reboots after a while: the boot loader may then take the other boot image.
package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/cmdline"
	"github.com/keelson-os/keelson/init/console"
	"github.com/keelson-os/keelson/init/dm"
	"github.com/keelson-os/keelson/init/efivar"
	"github.com/keelson-os/keelson/init/guard"
	"github.com/keelson-os/keelson/init/handoff"
	"github.com/keelson-os/keelson/init/kmsg"
	"github.com/keelson-os/keelson/init/module"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/init/uevent"
	"github.com/keelson-os/keelson/init/verity"
)

// Marker is the file that marks an initramfs.
const Marker = "/etc/initrd-release"

const (
	newRoot    = "/sysroot"
	mapperName = "keelson-root"
	// diskWait is how long the boot disk may take: USB disks need several seconds, a RAID
	// controller of a server up to a minute.
	diskWait = 60 * time.Second
)

// modules are loaded by name: no device asks for them. Those that do not exist, or are in
// the kernel, are skipped.
var modules = []string{"dm_mod", "dm_verity", "erofs", "squashfs", "efivarfs"}

// keepers keep the last words of a kernel that panics from here on (pstore). Many machines have nothing to write them to,
// which is no error.
var keepers = []string{"efi_pstore", "ramoops"}

// Run does the whole stage and ends in the root's /init. It does not return.
func Run() {
	err := mount.All(mount.Early())
	con := console.Open()
	defer guard.Recover(con, "initramfs stage")
	if err != nil {
		con.Printf("%v", err)
	}
	s := &stage{con: con, steps: step.NewTable(con)}
	s.steps.Otherwise = "power the machine off and on; if this comes back, write the image again, then replace the disk"
	s.run()
	con.Printf("boot stopped in the initramfs stage; no data was changed on any disk")
	guard.Reboot(con, guard.Delay)
}

// stage is what the steps hand to each other.
type stage struct {
	con    *console.Console
	steps  *step.Table
	events *uevent.Socket
	loader *module.Loader
	args   cmdline.Params // of the kernel
	params verity.Params
	root   found
	mapper string
	boot   handoff.Boot
}

// run returns only when the boot cannot go on; the console has said why.
func (s *stage) run() {
	// What happened before this process.
	s.steps.Add(step.Step{Name: "kernel", Duration: step.SinceKernel(), Note: boardModel("/proc/device-tree/model")})
	for _, x := range []struct {
		name string
		run  func() (string, error)
	}{
		{"initramfs-modules", s.modules},
		{"initramfs-disk", s.disk},
		{"initramfs-verity", s.verity},
		{"initramfs-root", s.mountRoot},
	} {
		if s.steps.Run(x.name, x.run) != nil {
			return
		}
	}
	s.boot.Steps = s.steps.Steps()
	if err := s.boot.Save(handoff.Path); err != nil {
		s.con.Printf("%v", err)
	}
	s.con.Flush(time.Second)
	s.con.Printf("%v", switchRoot(newRoot, "/init"))
}

func (s *stage) modules() (string, error) {
	var err error
	if s.events, err = uevent.Listen(); err != nil {
		return "", err
	}
	if s.args, err = cmdline.Read(); err != nil {
		return "", err
	}
	rootHash, ok := s.args.Get(verity.RootHashParam)
	spec, ok2 := s.args.Get(verity.Param)
	if !ok || !ok2 {
		return "", step.Advise(
			fmt.Errorf("the kernel command line has no %s= or no %s=: %q", verity.RootHashParam, verity.Param, s.args),
			"boot the image as it was built: both belong to its kernel command line")
	}
	if s.params, err = verity.Parse(rootHash, spec); err != nil {
		return "", step.Advise(err, "boot the image as it was built: this belongs to its kernel command line")
	}
	dir, err := module.Dir()
	if err != nil {
		return "", err
	}
	if s.loader, err = module.Open(dir, s.args.ModuleOptions); err != nil {
		return "", step.Advise(err, "kernel and initramfs must be of one build: write the image again")
	}
	// Where the kernel itself wants a module (a file system's character set, a hash) it
	// calls /sbin/modprobe.
	if err := linkModprobe(); err != nil {
		s.con.Printf("%v", err)
	}
	err = s.loader.LoadAll(modules)
	n, cerr := s.loader.Coldplug("/sys")
	for _, name := range keepers {
		s.loader.Load(name)
	}
	if err := errors.Join(err, cerr); err != nil {
		s.con.Printf("modules: %v", err) // the disk step fails if one of these was needed
	}
	if err := mount.All(mount.EFIVars()); err != nil {
		s.con.Printf("%v", err)
	}
	return fmt.Sprintf("%d devices", n), nil
}

func linkModprobe() error {
	if err := os.MkdirAll("/sbin", 0o755); err != nil {
		return err
	}
	err := os.Symlink("/init", "/sbin/modprobe")
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

func (s *stage) disk() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), diskWait)
	defer cancel()
	esp := bootESP(efivar.Dir, s.args)
	var err error
	if s.root, err = s.findRoot(ctx, esp); err != nil {
		return "", err
	}
	s.boot.Slot, s.boot.Disk, s.boot.Part = s.root.slot, s.root.disk, s.root.part
	s.boot.RootHash = fmt.Sprintf("%x", s.params.RootHash)
	note := fmt.Sprintf("slot %s, %s", s.root.slot, s.root.part)
	if esp != "" {
		note += ", by its ESP"
	}
	return note, nil
}

func (s *stage) verity() (string, error) {
	path, err := dm.CreateReadOnly(mapperName, dm.Target{
		Sectors: s.params.Sectors(),
		Type:    "verity",
		Params:  s.params.Table(s.root.part),
	})
	if err != nil {
		return "", step.Advise(fmt.Errorf("open the root of slot %s, %s, with dm-verity: %w", s.root.slot, s.root.part, err),
			"the kernel lacks dm-verity or the kernel command line is not the image's: write the image again")
	}
	s.mapper, s.boot.Mapper = path, path
	return "", nil
}

func (s *stage) mountRoot() (string, error) {
	fsType, err := fileSystem(s.mapper)
	if err == nil {
		err = mount.Do(mount.Mount{Source: s.mapper, Target: newRoot, Type: fsType, Flags: unix.MS_RDONLY, Mode: 0o755})
	}
	if err != nil {
		err = fmt.Errorf("mount the root of slot %s: %w", s.root.slot, err)
		for _, c := range slices.Compact(kmsg.Scan()) {
			err = fmt.Errorf("%w\n%s", err, c.Line(s.root.slot, s.root.part))
		}
		return "", step.Advise(err, "write the image to the disk again; if this comes back, replace the disk")
	}
	return fsType, nil
}
