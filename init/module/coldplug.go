package module

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/uevent"
)

// aliasDirs are the folders of devices, relative to /sys: those of every bus, and of the few classes that ask for modules
// themselves.
var aliasDirs = []string{"bus/*/devices/*", "class/input/*", "class/dmi/*"}

// Coldplug loads a module for every device below sys (/sys) that asks for one. It repeats
// while new devices appear, as a bus driver's module brings them.
// It returns how many aliases were served and what went wrong; a device without a module
// or a module without its device is no error.
func (l *Loader) Coldplug(sys string) (int, error) {
	done := map[string]bool{}
	var errs []error
	for {
		var todo []string
		for _, a := range modaliases(sys) {
			if !done[a] {
				done[a] = true
				todo = append(todo, a)
			}
		}
		if len(todo) == 0 {
			return len(done), errors.Join(errs...)
		}
		errs = append(errs, l.LoadAll(todo))
	}
}

// LoadAll loads names and aliases on as many threads as there are CPUs, at most four:
// unpacking a module is the kernel's work on our thread.
// Names nobody knows and drivers that find no device are no error.
func (l *Loader) LoadAll(names []string) error {
	queue := make(chan string)
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for range min(4, max(2, runtime.NumCPU())) {
		wg.Go(func() {
			for name := range queue {
				if err := l.Load(name); err != nil && !harmless(err) {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	wg.Wait()
	return errors.Join(errs...)
}

func harmless(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}

func modaliases(sys string) []string {
	seen := map[string]bool{}
	var list []string
	for _, pattern := range aliasDirs {
		dirs, _ := filepath.Glob(filepath.Join(sys, pattern))
		for _, dir := range dirs {
			for _, a := range aliasesOf(dir) {
				if a != "" && !seen[a] {
					seen[a] = true
					list = append(list, a)
				}
			}
		}
	}
	return list
}

// aliasesOf returns what the device with this folder wants; one that ACPI describes with a device tree's name has two
// aliases. A few buses, such as Allwinner's for its power chips (sunxi-rsb), have no file modalias, but lines MODALIAS=
// in uevent. To read that of every device as well would take three times as long.
func aliasesOf(dir string) []string {
	b, err := os.ReadFile(filepath.Join(dir, "modalias"))
	if err == nil {
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	b, _ = os.ReadFile(filepath.Join(dir, "uevent"))
	var list []string
	for line := range strings.Lines(string(b)) {
		if a, ok := strings.CutPrefix(line, "MODALIAS="); ok {
			list = append(list, strings.TrimSpace(a))
		}
	}
	return list
}

// Hotplug loads modules for the devices that appear, until ctx is done. It returns an
// error only when the kernel's events cannot be received at all.
// report gets what went wrong with one device.
func (l *Loader) Hotplug(ctx context.Context, events *uevent.Socket, report func(error)) error {
	for {
		e, err := events.Receive(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, uevent.ErrLost):
			_, err := l.Coldplug("/sys")
			if err != nil {
				report(err)
			}
			continue
		case err != nil:
			return err
		}
		if a := e.Env["MODALIAS"]; a != "" && e.Action == "add" {
			if err := l.Load(a); err != nil && !harmless(err) {
				report(err)
			}
		}
	}
}
