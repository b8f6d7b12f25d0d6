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

// modaliasFiles lists where the kernel shows what a device wants; relative to /sys.
// Devices of every bus, and the few classes that ask for modules themselves. A file uevent has a line
// MODALIAS=; a few buses, such as Allwinner's for its power chips (sunxi-rsb), have no file modalias.
var modaliasFiles = []string{
	"bus/*/devices/*/modalias",
	"bus/*/devices/*/uevent",
	"class/input/*/modalias",
	"class/dmi/*/modalias",
}

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
	for _, pattern := range modaliasFiles {
		files, _ := filepath.Glob(filepath.Join(sys, pattern))
		for _, file := range files {
			b, err := os.ReadFile(file)
			a := strings.TrimSpace(string(b))
			if filepath.Base(file) == "uevent" {
				a = ueventAlias(a)
			}
			if err == nil && a != "" && !seen[a] {
				seen[a] = true
				list = append(list, a)
			}
		}
	}
	return list
}

// ueventAlias returns the alias that the text of a file uevent names, or "".
func ueventAlias(text string) string {
	for line := range strings.Lines(text) {
		if a, ok := strings.CutPrefix(line, "MODALIAS="); ok {
			return strings.TrimSpace(a)
		}
	}
	return ""
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
