package grub

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/upgrade/bootcontrol/grubenv"
)

// bootCfg is the script in the memory disk. GRUB's full parser reads it.
//
//go:embed boot.cfg
var bootCfg string

// earlyCfg is run by the core image, before there are if and for. What boot.cfg does not end, it does.
//
//go:embed early.cfg
var earlyCfg []byte

// modules are GRUB's modules in the core image; grub-mkimage adds what they depend on.
var modules = []string{
	"biosdisk", "part_gpt", "fat", "memdisk", "tar", // where things are
	"normal", "test", "echo", "regexp", "serial", "terminal", "sleep", "reboot", // the script's language; regexp: the * in file names
	"loadenv", "loopback", "configfile", "cmp", "probe", "linux",
}

// Disk is what the core image is told about its disk.
type Disk struct {
	Core int64 // byte offset of the partition bios, a multiple of 512
	Room int64 // its size, bytes
	// Numbers of partitions in the GPT, from 1.
	ESP, BootState, RootA, RootB int
}

// Images are what goes on a disk for a BIOS.
type Images struct {
	Core []byte // the content of the partition bios, whole sectors
	Boot []byte // the first BootCodeSize bytes of the disk
}

// Command returns a command that runs a program of Debian's package grub-common; pkgs.Tools.Command is one.
type Command func(ctx context.Context, name string, args ...string) *exec.Cmd

// Make makes the images. dir is the folder i386-pc of Debian's package grub-pc-bin. Equal inputs give equal bytes.
// Errors: what grub-mkimage says; ErrOtherVersion; a core image that has no room.
func Make(ctx context.Context, command Command, dir string, d Disk, epoch time.Time) (_ Images, err error) {
	temp, err := os.MkdirTemp("", "keelson-grub-")
	if err != nil {
		return Images{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	text, err := script(d)
	if err != nil {
		return Images{}, err
	}
	disk, err := grubenv.Archive("boot.cfg", []byte(text), epoch)
	if err != nil {
		return Images{}, err
	}
	early, memory, out := filepath.Join(temp, "early.cfg"), filepath.Join(temp, "memory.tar"), filepath.Join(temp, "core.img")
	if err := errors.Join(os.WriteFile(early, earlyCfg, 0o600), os.WriteFile(memory, disk, 0o600)); err != nil {
		return Images{}, err
	}
	// A prefix without a device: root is then the disk that the BIOS started. --memdisk has a prefix of its own; the last counts.
	args := append([]string{"--format=i386-pc", "--directory=" + dir, "--config=" + early, "--memdisk=" + memory, "--prefix=/", "--output=" + out}, modules...)
	var said bytes.Buffer
	cmd := command(ctx, "grub-mkimage", args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return Images{}, fmt.Errorf("grub-mkimage: %w: %s", err, strings.TrimSpace(said.String()))
	}
	core, err := os.ReadFile(out)
	if err != nil {
		return Images{}, err
	}
	boot, err := os.ReadFile(filepath.Join(dir, "boot.img"))
	if err != nil {
		return Images{}, err
	}
	return setup(core, boot, d)
}

// setup ties the images to their places.
func setup(core, boot []byte, d Disk) (Images, error) {
	if d.Core%sectorSize != 0 {
		return Images{}, fmt.Errorf("grub: partition bios at byte %d: want whole sectors of %d", d.Core, sectorSize)
	}
	var out Images
	var err error
	if out.Core, err = place(core, d.Core/sectorSize); err != nil {
		return Images{}, err
	}
	if int64(len(out.Core)) > d.Room {
		return Images{}, fmt.Errorf("grub: core image has %d bytes, the partition bios %d", len(out.Core), d.Room)
	}
	if out.Boot, err = BootCode(boot, d.Core/sectorSize); err != nil {
		return Images{}, err
	}
	return out, nil
}

// script returns boot.cfg for a disk.
func script(d Disk) (string, error) {
	for _, n := range []int{d.ESP, d.BootState, d.RootA, d.RootB} {
		if n < 1 || n > 128 {
			return "", fmt.Errorf("grub: partition number %d: want 1 to 128", n)
		}
	}
	text := strings.NewReplacer(
		"@ESP@", strconv.Itoa(d.ESP), "@STATE@", strconv.Itoa(d.BootState), "@ROOT_A@", strconv.Itoa(d.RootA), "@ROOT_B@", strconv.Itoa(d.RootB),
		"@COMMITTED@", strconv.Itoa(grubenv.CommittedSector), "@TRIAL@", grubenv.TrialName, "@COPY@", strconv.Itoa(grubenv.CopySector),
		"@HEADER@", strconv.Itoa(SectionAt/sectorSize),
	).Replace(bootCfg)
	if strings.Contains(text, "@") {
		return "", errors.New("grub: BUG: boot.cfg has a placeholder that nobody fills in")
	}
	return text, nil
}
