package qemu

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// prefix begins every line that PID 1 writes to the console.
const prefix = "keelson: "

// Message returns what PID 1 said in a console line; ok is false for other lines.
func Message(line string) (text string, ok bool) {
	// A kernel message, cut off by PID 1's, may stand before it in the same line.
	k := strings.Index(line, prefix)
	if k < 0 || (k > 0 && !strings.HasPrefix(strings.TrimSpace(line), "[")) {
		return "", false
	}
	return line[k+len(prefix):], true
}

// loader matches what a boot loader says in PID 1's manner, before a kernel runs.
// Source: imagebuilder/uboot/boot.cmd, imagebuilder/grub/boot.cfg.
var loader = regexp.MustCompile(`^(?:boot state: |trying slot |cannot count |loading slot |starting slot |slot \S+ |nothing on this disk )`)

// chatter matches what PID 1 passes on of the node's log: Kubernetes' warnings, which a
// start always has, and the count of those left out. They are in the serial log.
var chatter = regexp.MustCompile(`^node: (?:[EWI]\d{4} |time=|\{|\(\d+ more such lines)`)

// Follow calls say with every message of PID 1 from a mark on, as it comes, until the machine
// ends or ctx is done. Left out are the boot table, which WaitBoot returns, and what the node's
// components log.
func (c *Console) Follow(ctx context.Context, mark int, say func(text string)) {
	for table := false; ; mark++ {
		l, ok := c.Next(ctx, mark)
		if !ok {
			return
		}
		text, ok := Message(l.Text)
		if !ok {
			continue
		}
		switch text {
		case "boot table":
			table = true
		case "end of boot table":
			table = false
		default:
			if !table && !chatter.MatchString(text) {
				say(text)
			}
		}
	}
}

// Step is one row of the boot table.
type Step struct {
	Name     string
	Duration time.Duration
	Result   string // "ok", "ok (note)" or the error
}

// OK reports whether the step succeeded.
func (s Step) OK() bool { return s.Result == "ok" || strings.HasPrefix(s.Result, "ok (") }

func (s Step) String() string {
	return fmt.Sprintf("%-26s %9.3fs  %s", s.Name, s.Duration.Seconds(), s.Result)
}

// row is a step as PID 1 prints it: "  network      3.020s ok (eth0 10.0.2.15)".
var row = regexp.MustCompile(`^\s*(\S+)\s+([0-9.]+)s (.*)$`)

// Boot is one attempt of a boot, as PID 1 reports it.
type Boot struct {
	Steps []Step
	// Ready is from the kernel's start to the ready node; 0 when the attempt failed. PID 1
	// may then start the node again and report a second time.
	Ready time.Duration
}

// Step finds a row of the table.
func (b Boot) Step(name string) (Step, bool) {
	for _, s := range b.Steps {
		if s.Name == name {
			return s, true
		}
	}
	return Step{}, false
}

// Table is the boot table, a row per line.
func (b Boot) Table() string {
	var out strings.Builder
	for _, s := range b.Steps {
		fmt.Fprintf(&out, "  %s\n", s)
	}
	return out.String()
}

// Final reports whether a failed boot will stay failed: PID 1 did not start the node.
func (b Boot) Final() bool {
	s, _ := b.Step("node")
	return strings.HasPrefix(s.Result, "not started")
}

// WaitBoot waits from a mark on for the boot table and, when the node is ready in it, for
// how long that took. It returns the mark behind that.
func (c *Console) WaitBoot(ctx context.Context, mark int) (Boot, int, error) {
	said := func(want string) func(string) bool {
		return func(line string) bool {
			text, ok := Message(line)
			return ok && strings.HasPrefix(text, want)
		}
	}
	_, first, err := c.Wait(ctx, mark, "the boot table", said("boot table"))
	if err != nil {
		return Boot{}, mark, err
	}
	_, last, err := c.Wait(ctx, first, "the end of the boot table", said("end of boot table"))
	if err != nil {
		return Boot{}, mark, err
	}
	var b Boot
	for _, l := range c.Since(first)[:last-1-first] {
		text, ok := Message(l.Text)
		if !ok {
			continue
		}
		if m := row.FindStringSubmatch(text); m != nil {
			seconds, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				continue
			}
			b.Steps = append(b.Steps, Step{Name: m[1], Duration: time.Duration(seconds * float64(time.Second)), Result: m[3]})
		}
	}
	if s, ok := b.Step("node"); !ok || !s.OK() {
		return b, last, nil
	}
	const ready = "node ready after "
	l, end, err := c.Wait(ctx, last, "\""+ready+"...\"", said(ready))
	if err != nil {
		return b, last, err
	}
	text, _ := Message(l.Text)
	number, _, _ := strings.Cut(strings.TrimPrefix(text, ready), " ")
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return b, end, fmt.Errorf("console: %q: %w", text, err)
	}
	b.Ready = time.Duration(seconds * float64(time.Second))
	return b, end, nil
}
