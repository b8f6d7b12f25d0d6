package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/block"
	"github.com/keelson-os/keelson/init/mount"
	"github.com/keelson-os/keelson/init/parttable"
	"github.com/keelson-os/keelson/init/provision"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/upgrade/bootcontrol"
)

// espMount is where the FAT partition is mounted while PID 1 reads it.
const espMount = "/efi"

// config needs the state partition. It takes what is new, from the machine API or on the FAT
// partition, then reads the configuration in force.
func (s *system) config(ctx context.Context) (string, error) {
	if !s.stateUp {
		return "skipped: no state partition", nil
	}
	tried := s.tryConfig()
	moved, names, ierr := s.intake()
	if tried && moved.Config {
		// Who has the disk in hand has the last word, and nothing else to go back to.
		tried = false
		s.sayConfig("the configuration of the FAT partition takes the place of the one on trial")
		if err := s.configTrial().Passed(); err != nil {
			s.sayConfig("%v", err)
		}
	}
	cfg, err := config.Load(config.File)
	if tried && err != nil {
		s.sayConfig("the new configuration is undone: %v", err)
		if uerr := s.configTrial().Undo(err.Error(), nil); uerr != nil {
			s.sayConfig("%v", uerr)
		}
		tried = false
		cfg, err = config.Load(config.File)
	}
	if tried {
		s.begin(ctx, func(t *underTrial) { t.config = true })
	}
	// Not taken, although there may be one. One that is in force is good all the same.
	untaken := ierr != nil && (len(names) == 0 || slices.Contains(names, config.FileName))
	if ierr != nil && !(errors.Is(err, fs.ErrNotExist) && moved.Refused == nil && untaken) {
		s.con.Printf("FAT partition: %v", ierr)
	}
	switch {
	case err == nil:
		s.mu.Lock()
		s.cfg = cfg
		s.mu.Unlock()
	case errors.Is(err, fs.ErrNotExist) && moved.Refused == nil && untaken:
		return "", step.Advise(fmt.Errorf("this node has no configuration, and none could be taken: %w", ierr),
			"boot again; if this comes back, write the image again, with the configuration")
	case errors.Is(err, fs.ErrNotExist) && moved.Refused == nil:
		return "", step.Advise(errors.New("this node has no configuration yet"+hint(names)),
			"power it off, put its disk or card into a laptop, copy server.yaml as %s and secrets.yaml "+
				"(both from \"keelson config new\") to the FAT partition, and boot again", config.FileName)
	case errors.Is(err, fs.ErrNotExist):
		return "", step.Advise(moved.Refused,
			"correct %s on the FAT partition and boot again; \"keelson config validate\" gives the same text", config.FileName)
	case moved.Refused != nil:
		return "", step.Advise(fmt.Errorf("%w\nthe new configuration is refused, and the one in force as well:\n%w", moved.Refused, err),
			"correct %s on the FAT partition and boot again; \"keelson config validate\" gives the same text", config.FileName)
	default:
		return "", step.Advise(fmt.Errorf("the configuration in force is refused:\n%w", err),
			"put a correct %s on the FAT partition and boot again", config.FileName)
	}
	switch {
	case moved.Refused != nil:
		return "", step.Advise(fmt.Errorf("%w\nthe new configuration is refused, the old one stays in force", moved.Refused),
			"correct %s on the FAT partition and boot again; \"keelson config validate\" gives the same text", config.FileName)
	case moved.Config:
		return fmt.Sprintf("new, %d files taken from the FAT partition", len(moved.Files)), nil
	case tried:
		return "new, on trial", nil
	case len(moved.Files) > 0:
		return fmt.Sprintf("%d seeds taken from the FAT partition", len(moved.Files)), nil
	}
	return string(cfg.Role), nil
}

// tryConfig takes a configuration that the machine API left, or goes on with the trial of one, and reports whether there is
// one on trial. A slot that is on trial is tried with the configuration that it finds.
func (s *system) tryConfig() bool {
	o, err := s.configTrial().Begin(!s.upgrade.OnTrial())
	if err != nil {
		s.sayConfig("a configuration of the machine API: %v", err)
	}
	switch {
	case o.Undone != "":
		s.sayConfig("the new configuration is undone: %s", o.Undone)
	case o.OnTrial:
		s.sayConfig("a new configuration is on trial, boot %d of %d", o.Try, bootcontrol.Tries)
	}
	return o.OnTrial
}

// hint points at files that were probably meant to be the configuration.
func hint(names []string) string {
	var like []string
	for _, n := range names {
		if l := strings.ToLower(n); strings.HasSuffix(l, ".yaml") || strings.HasSuffix(l, ".yml") || strings.HasPrefix(l, "keelson.") {
			like = append(like, n)
		}
	}
	if len(like) == 0 {
		return ""
	}
	return fmt.Sprintf("; the FAT partition has %s, but no %s", strings.Join(like, ", "), config.FileName)
}

// intake mounts the FAT partition read-only, copies what is new, and only if there was
// something mounts it to be written and removes that. names are the files in its root.
func (s *system) intake() (m provision.Moved, names []string, err error) {
	dev, err := s.espDevice()
	if err != nil {
		return m, nil, err
	}
	release, err := s.takeFAT(fatWait)
	if err != nil {
		return m, nil, err
	}
	defer release() // after the unmount below
	esp := mount.Mount{
		Source: dev, Target: espMount, Type: "vfat", Data: "umask=0077",
		Flags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
	}
	if err := mount.Do(esp); err != nil {
		return m, nil, err
	}
	defer func() {
		if uerr := unix.Unmount(espMount, 0); uerr != nil {
			err = errors.Join(err, &fs.PathError{Op: "unmount", Path: espMount, Err: uerr})
		}
	}()
	entries, _ := os.ReadDir(espMount)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	places := provision.System(espMount)
	m, err = places.Copy()
	if len(m.Files) == 0 {
		return m, names, err
	}
	for _, f := range m.Files {
		s.con.Logf("took %s from the FAT partition", filepath.ToSlash(f))
	}
	if rerr := mount.Remount(espMount, esp.Flags&^unix.MS_RDONLY); rerr != nil {
		return m, names, errors.Join(err, fmt.Errorf("what was taken stays there as well: %w", rerr))
	}
	return m, names, errors.Join(err, places.Remove(m))
}

// espDevice finds the ESP of the disk we were booted from.
func (s *system) espDevice() (string, error) {
	path := "/dev/" + s.boot.Disk
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := block.Size(f)
	if err != nil {
		return "", err
	}
	t, err := parttable.Read(f, size)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	n, ok := t.Find("esp")
	if !ok {
		return "", fmt.Errorf("%s has no partition \"esp\", or several", path)
	}
	return block.Partition("/sys", s.boot.Disk, n)
}
