package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/logtail"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/upgrade/record"
)

// partMax bounds, in bytes, a file of the support archive; of a longer log the end is taken.
const partMax = 4<<20 + 64<<10

// part is a file of the support archive.
type part struct {
	name  string
	write func(ctx context.Context, w io.Writer) error
}

// getSupport streams the archive. A part that fails is a file NAME.error that says why: the archive is asked for when things are broken.
func (s *Server) getSupport(w http.ResponseWriter, r *http.Request, _ caller) error {
	if !s.changing.TryLock() { // one at once: each takes some memory
		return refuse(http.StatusServiceUnavailable, "another support archive is being made, or the configuration is being changed")
	}
	defer s.changing.Unlock()
	defer debug.FreeOSMemory()
	ctx, cancel := s.until(r)
	defer cancel()
	now := s.Now().UTC()
	dir := fmt.Sprintf("keelson-support-%s-%s", s.Places.Roots.Hostname(), now.Format("20060102T150405Z"))
	w.Header().Set("Content-Disposition", `attachment; filename="`+dir+`.tar.gz"`)
	out := s.begin(w, "application/gzip")
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	t := tar.NewWriter(zip)
	for _, p := range s.parts() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.addPart(ctx, t, dir, p, now); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	return zip.Close()
}

// addPart writes one part, through the redactor whatever it is.
func (s *Server) addPart(ctx context.Context, t *tar.Writer, dir string, p part, now time.Time) error {
	var buf bytes.Buffer
	text := s.redactor().Writer(&limited{w: &buf, left: partMax})
	err := p.write(ctx, text)
	if cerr := text.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if aerr := addFile(t, path.Join(dir, p.name+".error"), []byte(s.redactor().Line(err.Error())+"\n"), now); aerr != nil {
			return aerr
		}
	}
	if buf.Len() == 0 {
		return nil
	}
	return addFile(t, path.Join(dir, p.name), buf.Bytes(), now)
}

func addFile(t *tar.Writer, name string, data []byte, now time.Time) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: now, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

// limited drops what is more than left bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := len(p)
	p = p[:min(n, l.left)]
	l.left -= len(p)
	if _, err := l.w.Write(p); err != nil {
		return 0, err
	}
	return n, nil
}

// parts are what is in a support archive.
func (s *Server) parts() []part {
	roots := s.Places.Roots
	parts := []part{
		asJSON("status.json", func(ctx context.Context) (any, error) { return s.status(ctx), nil }),
		asJSON("services.json", func(ctx context.Context) (any, error) { return s.services(ctx) }),
		asJSON("ps.json", func(context.Context) (any, error) { return roots.Processes(s.redactor().Line) }),
		asJSON("disks.json", func(context.Context) (any, error) { return roots.Disks(s.Boot.Disk, s.Boot.Part) }),
		asJSON("network.json", func(context.Context) (any, error) { return roots.Network(s.Places.Resolv) }),
		asJSON("time.json", func(ctx context.Context) (any, error) { return s.time(ctx) }),
		asJSON("certificates.json", func(context.Context) (any, error) { return s.certificates(), nil }),
		asJSON("upgrades.json", func(context.Context) (any, error) { return record.Load(s.Places.Record) }),
		{"config.yaml", func(_ context.Context, w io.Writer) error {
			_, hidden, _, err := s.hiddenConfig()
			w.Write(hidden)
			return err
		}},
		{"events.jsonl", func(ctx context.Context, w io.Writer) error {
			e := json.NewEncoder(w)
			return s.Control.Events(ctx, 0, false, func(x control.Event) error { return e.Encode(x) })
		}},
		{"dmesg.txt", func(ctx context.Context, w io.Writer) error {
			return roots.KernelLog(ctx, false, func(m machine.KernelMessage) error {
				_, err := fmt.Fprintf(w, "[%12.6f] <%d> %s\n", float64(m.Since), m.Level, m.Text)
				return err
			})
		}},
	}
	for _, name := range []string{
		"cmdline", "cpuinfo", "interrupts", "loadavg", "meminfo", "modules", "partitions", "pressure/cpu", "pressure/io", "pressure/memory",
		"self/mountinfo", "swaps", "uptime", "version", "vmstat", "net/dev", "net/snmp", "net/sockstat", "net/tcp", "net/tcp6", "net/udp", "net/udp6",
	} {
		parts = append(parts, copyOf(path.Join("proc", name), filepath.Join(roots.Proc, name), 1<<20))
	}
	for _, service := range []string{"init", "node", "machined", "panic"} { // the last is the kernel's last words of earlier boots
		for _, file := range logtail.Files(filepath.Join(s.Places.Logs, service+".log")) {
			parts = append(parts, copyOf(path.Join("logs", filepath.Base(file)), file, partMax))
		}
	}
	last, _ := filepath.Glob(filepath.Join(s.Places.Pstore, "*"))
	for _, file := range last {
		parts = append(parts, copyOf(path.Join("pstore", filepath.Base(file)), file, 1<<20))
	}
	return append(parts, s.clusterParts()...)
}

// asJSON is a part that is a value.
func asJSON(name string, value func(context.Context) (any, error)) part {
	return part{name, func(ctx context.Context, w io.Writer) error {
		v, err := value(ctx)
		if err != nil {
			return err
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}}
}

// copyOf is a part that is a file's end. One that is not there is left out.
func copyOf(name, file string, most int64) part {
	return part{name, func(_ context.Context, w io.Writer) error {
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			return nil
		}
		var data []byte
		if info.Size() == 0 { // the kernel's files do not say how long they are
			data, err = readStart(file, most)
		} else {
			data, err = logtail.Last(file, most)
		}
		w.Write(data)
		return err
	}}
}

func readStart(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
