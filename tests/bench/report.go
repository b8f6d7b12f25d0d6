package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// marks returns the lines around the part of the page that is rewritten for a board.
func marks(board string) (begin, end string) {
	command := "make bench"
	if board != "pc" {
		command += " BOARD=" + board
	}
	return "<!-- " + command + " writes from here -->", "<!-- to here -->"
}

// report is what was measured. Zero means not measured.
type report struct {
	board                             string
	accel                             qemu.Accel
	buildCold, buildWarm, buildConfig time.Duration
	imageRaw, imageStored             int64 // bytes: of the disk, and of the blocks its file needs
	imageCompressed, imageWithTraefik int64 // bytes
	info                              harness.Manifest
	parts                             []harness.Part // the largest first
	smallReady                        time.Duration
	smallError                        string
	boot                              qemu.Boot
	look                              look
	flash                             flashSpeed
}

// verdict compares a measure with its budget, both in unit.
func verdict(measured, budget float64, unit string) string {
	if measured <= budget {
		return "pass"
	}
	return fmt.Sprintf("misses by %s %s (%.0f %%)", number(measured-budget), unit, (measured/budget-1)*100)
}

// number prints three significant digits or so.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

const (
	mb  = 1e6
	mib = 1 << 20
)

// lengths returns the boot's three parts: kernel to PID 1, PID 1 to the node process
// without the network, node process to ready.
func (r *report) lengths() (kernel, pid1, node time.Duration) {
	k, _ := r.boot.Step("kernel")
	n, _ := r.boot.Step("node")
	w, _ := r.boot.Step("network")
	return k.Duration, r.boot.Ready - n.Duration - k.Duration - w.Duration, n.Duration
}

// apiReady is from the node process' start to a ready API server: its step and those it
// waits for.
func (r *report) apiReady() time.Duration {
	var before, api time.Duration
	for _, s := range r.boot.Steps {
		switch s.Name {
		case "node/credentials", "node/datastore":
			before = max(before, s.Duration)
		case "node/apiserver":
			api = s.Duration
		}
	}
	return before + api
}

// imageBudget is the size of a compressed image, MB.
func imageBudget(arch string) float64 {
	if arch == "arm64" {
		return 110
	}
	return 120
}

// text renders the rewritten part.
func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s.\n\n", hostLine(r.info.Arch, r.accel))
	b.WriteString("| what | measured | budget | |\n| --- | --- | --- | --- |\n")
	line := func(what string, measured, budget float64, unit, note string) {
		v := verdict(measured, budget, unit)
		if note != "" {
			v += "; " + note
		}
		fmt.Fprintf(&b, "| %s | %s %s | ≤ %s %s | %s |\n", what, number(measured), unit, number(budget), unit, v)
	}
	emulated := ""
	if r.accel == qemu.AccelTCG {
		emulated = "emulated, the budget is for a real CPU"
	}
	kernel, pid1, node := r.lengths()
	line("memory in use, idle, all components but Traefik, 1 GiB VM, with the measuring pod", float64(r.look.total-r.look.available)/1024, 350, "MiB", "")
	if r.smallError != "" {
		fmt.Fprintf(&b, "| ready, and runs a pod, in a 512 MiB VM | no: %s | yes | misses |\n", strings.ReplaceAll(r.smallError, "|", "\\|"))
	} else {
		fmt.Fprintf(&b, "| ready, and runs a pod, in a 512 MiB VM | yes, after %s s | yes | pass |\n", number(r.smallReady.Seconds()))
	}
	line("idle CPU of the node process, of one core", 100*r.look.nodeCPU/r.look.seconds, 2, "%", emulated)
	line("idle writes to the state partition", float64(r.look.written)/1000/r.look.seconds, 1, "kB/s", "")
	line("image of "+r.board+", compressed, without Traefik", float64(r.imageCompressed)/mb, imageBudget(r.info.Arch), "MB", "")
	line("rebuild, nothing changed", r.buildWarm.Seconds(), 10, "s", "")
	line("rebuild, only the configuration changed", r.buildConfig.Seconds(), 2, "s", "")
	line("PID 1 start → node process start, besides the network", pid1.Seconds(), 2, "s", emulated)
	line("node process start → API ready", r.apiReady().Seconds(), 3, "s", emulated)
	line("node process start → node ready", node.Seconds(), 8, "s", emulated)
	if p, ok := r.process(1); ok {
		line("PID 1, resident", float64(p.rss)/1024, 20, "MiB", "")
	}

	if r.flash.ratio() > 0 {
		b.WriteString(r.flash.line())
	}

	b.WriteString("\n| without a budget | measured |\n| --- | --- |\n")
	if r.buildCold > 0 {
		fmt.Fprintf(&b, "| build, empty cache, with all downloads | %s s |\n", number(r.buildCold.Seconds()))
	}
	fmt.Fprintf(&b, "| image of %s, compressed, with Traefik | %s MB |\n", r.board, number(float64(r.imageWithTraefik)/mb))
	fmt.Fprintf(&b, "| kernel start → PID 1 | %s s |\n", number(kernel.Seconds()))
	fmt.Fprintf(&b, "| kernel start → node ready | %s s |\n", number(r.boot.Ready.Seconds()))
	fmt.Fprintf(&b, "| image, raw | %s MB, of which %s MB are stored |\n", number(float64(r.imageRaw)/mb), number(float64(r.imageStored)/mb))
	fmt.Fprintf(&b, "| root, %s, with its verity tree | %s MB |\n", r.info.Root.Format, number(float64(r.info.Root.WithVerity)/mb))

	b.WriteString("\nThe ten largest parts of the image, before compression:\n\n| part | MB |\n| --- | --- |\n")
	for _, p := range r.parts[:min(10, len(r.parts))] {
		fmt.Fprintf(&b, "| %s | %s |\n", p.Name, number(float64(p.Size)/mb))
	}

	b.WriteString("\nThe largest processes of the idle node; the rest of their memory is pages of files, which the kernel takes back when it needs to:\n\n| process | resident, MiB | of it anonymous, MiB |\n| --- | --- | --- |\n")
	for _, p := range r.look.processes[:min(8, len(r.look.processes))] {
		fmt.Fprintf(&b, "| %s (%d) | %s | %s |\n", p.name, p.pid, number(float64(p.rss)*1024/mib), number(float64(p.anon)*1024/mib))
	}

	fmt.Fprintf(&b, "\nThe boot, as PID 1 printed it:\n\n```\n%s```\n", r.boot.Table())
	return b.String()
}

func (r *report) process(pid int) (process, bool) {
	for _, p := range r.look.processes {
		if p.pid == pid {
			return p, true
		}
	}
	return process{}, false
}

// write puts the text between the marks of the page.
func (r *report) write(path string) error {
	page, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		page, err = []byte("# Benchmarks\n"), nil
	}
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(replaceMarked(string(page), r.board, r.text())), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// replaceMarked replaces what stands between the board's two marks. A page without them gets them at its end.
func replaceMarked(page, board, text string) string {
	begin, end := marks(board)
	before, rest, ok1 := strings.Cut(page, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		before, after = strings.TrimRight(page, "\n")+"\n\n## "+board+"\n\n", "\n"
	}
	return before + begin + "\n\n" + text + "\n" + end + after
}
