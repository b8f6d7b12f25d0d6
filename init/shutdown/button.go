package shutdown

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/uevent"
)

// Codes of input events.
// Source: include/uapi/linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
)

// eventSize is sizeof(struct input_event) on 64-bit machines: two 8-byte times, then
// type and code of 2 bytes and a value of 4.
const eventSize = 24

// Button sends a request when a power button is pressed, until ctx is done: those that
// are there, and those that appear later.
func Button(ctx context.Context, requests chan<- Request) error {
	events, err := uevent.Listen()
	if err != nil {
		return err
	}
	defer events.Close()
	b := &buttons{requests: requests, open: map[string]bool{}}
	b.scan(ctx)
	for {
		e, err := events.Receive(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == uevent.ErrLost || err == nil && e.Env["SUBSYSTEM"] == "input" && e.Action == "add" {
			b.scan(ctx)
			continue
		}
		if err != nil {
			return err
		}
	}
}

type buttons struct {
	requests chan<- Request
	mu       sync.Mutex
	open     map[string]bool
}

// scan follows every input device that has a power key.
func (b *buttons) scan(ctx context.Context) {
	files, _ := filepath.Glob("/sys/class/input/event*/device/capabilities/key")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !hasKey(string(text), keyPower) {
			continue
		}
		name := strings.Split(file, "/")[4]
		b.mu.Lock()
		known := b.open[name]
		b.open[name] = true
		b.mu.Unlock()
		if !known {
			go b.follow(ctx, name)
		}
	}
}

func (b *buttons) follow(ctx context.Context, name string) {
	defer func() {
		b.mu.Lock()
		delete(b.open, name)
		b.mu.Unlock()
	}()
	f, err := openEvents(ctx, "/dev/input/"+name)
	if err != nil {
		return
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64*eventSize)
	for {
		n, err := f.Read(buf)
		if err != nil || n == 0 {
			return // unplugged, or the end
		}
		if pressed(buf[:n]) {
			select {
			case b.requests <- Request{Action: PowerOff, By: "power button"}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// openEvents opens a device's node. The kernel shows a device in sysfs before it makes the
// node; a scan for another device's sake may see it in between, and the event that tells
// of the node finds the name taken. So the node is waited for, a few seconds.
func openEvents(ctx context.Context, path string) (*os.File, error) {
	for try := 0; ; try++ {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// pressed finds a power key that goes down among whole events.
func pressed(p []byte) bool {
	for ; len(p) >= eventSize; p = p[eventSize:] {
		if binary.NativeEndian.Uint16(p[16:]) == evKey && binary.NativeEndian.Uint16(p[18:]) == keyPower &&
			binary.NativeEndian.Uint32(p[20:]) == 1 {
			return true
		}
	}
	return false
}

// hasKey reads a bitmap of /sys: hexadecimal words of 64 bits, the highest first.
func hasKey(bitmap string, key int) bool {
	words := strings.Fields(bitmap)
	i := len(words) - 1 - key/64
	if i < 0 {
		return false
	}
	w, err := strconv.ParseUint(words[i], 16, 64)
	return err == nil && w>>(key%64)&1 == 1
}
