package facts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/machine"
)

// recordMax is, in bytes, the longest record of /dev/kmsg; a shorter buffer is answered with EINVAL.
const recordMax = 8 << 10

// KernelLog calls each for every message in the kernel's buffer; with follow also for those to come, until ctx ends. It ends with
// each's error.
// Source: Linux, Documentation/ABI/testing/dev-kmsg.
func (r Roots) KernelLog(ctx context.Context, follow bool, each func(machine.KernelMessage) error) error {
	fd, err := unix.Open(filepath.Join(r.Dev, "kmsg"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Join(r.Dev, "kmsg"), Err: err}
	}
	var f *os.File // with follow: read by the runtime's poller
	if follow {
		f = os.NewFile(uintptr(fd), "kmsg")
		defer f.Close()
		defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	} else {
		defer unix.Close(fd)
	}
	began := time.Now().Add(-r.Uptime())
	buf := make([]byte, recordMax)
	lost := false
	for ctx.Err() == nil {
		var n int
		if follow {
			n, err = f.Read(buf)
		} else {
			n, err = unix.Read(fd, buf)
		}
		switch {
		case errors.Is(err, unix.EPIPE): // overwritten before they were read
			lost = true
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case ctx.Err() != nil:
			return nil
		case !follow && (errors.Is(err, unix.EAGAIN) || err == nil && n <= 0):
			return nil
		case err != nil:
			return &os.PathError{Op: "read", Path: filepath.Join(r.Dev, "kmsg"), Err: err}
		}
		m, err := parseRecord(buf[:n], began)
		if err != nil {
			continue
		}
		m.Lost, lost = lost, false
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

// parseRecord reads "PREFIX,SEQUENCE,MICROSECONDS,FLAGS[,…];TEXT\n KEY=VALUE\n…". began is when the kernel started by the present clock.
func parseRecord(record []byte, began time.Time) (m machine.KernelMessage, err error) {
	line, _, _ := bytes.Cut(record, []byte("\n")) // what follows is a dictionary
	head, text, ok := strings.Cut(string(line), ";")
	f := strings.Split(head, ",")
	if !ok || len(f) < 4 {
		return m, fmt.Errorf("kernel message %q: want PREFIX,SEQUENCE,TIME,FLAGS;TEXT", line)
	}
	prefix, err := strconv.ParseUint(f[0], 10, 31)
	if err != nil {
		return m, fmt.Errorf("kernel message: prefix: %w", err)
	}
	if m.Sequence, err = strconv.ParseUint(f[1], 10, 64); err != nil {
		return m, fmt.Errorf("kernel message: sequence: %w", err)
	}
	micros, err := strconv.ParseInt(f[2], 10, 53)
	if err != nil {
		return m, fmt.Errorf("kernel message: time: %w", err)
	}
	since := time.Duration(micros) * time.Microsecond
	m.Level, m.Facility = int(prefix&7), int(prefix>>3)
	m.Since, m.Time = machine.SecondsOf(since), began.Add(since).UTC().Truncate(time.Microsecond)
	m.Text = strings.ToValidUTF8(unescape(text), "?")
	return m, nil
}

// unescape undoes \xNN, as which the kernel writes what cannot be printed. Control characters stay as they are written: a terminal
// must not be steered by what a USB stick calls itself.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil && (n >= 0x80 || n == '\\' || n == '\t') {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
