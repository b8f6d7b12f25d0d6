package facts

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// ticks is USER_HZ, a second in the times of /proc/PID/stat. It is 100 on every architecture we build for.
const ticks = 100

// commandMax bounds, in bytes, a command line.
const commandMax = 400

// Processes lists all processes by PID. hide takes secrets out of a command line.
// Source: proc_pid_stat(5), proc_pid_cmdline(5), proc_pid_cgroup(5).
func (r Roots) Processes(hide func(string) string) ([]machine.Process, error) {
	entries, err := os.ReadDir(r.Proc)
	if err != nil {
		return nil, err
	}
	began := time.Now().Add(-r.Uptime())
	list := []machine.Process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 0 {
			continue
		}
		dir := filepath.Join(r.Proc, e.Name())
		p, err := parseStat(read(dir, "stat"), began)
		if err != nil {
			continue // it has ended
		}
		p.User = effectiveUser(read(dir, "status"))
		p.Command = hide(command(read(dir, "cmdline")))
		p.Pod = podOf(read(dir, "cgroup"))
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b machine.Process) int { return a.PID - b.PID })
	return list, nil
}

// parseStat reads the fields of /proc/PID/stat. The name may hold spaces and parentheses: the last ")" ends it.
func parseStat(text string, began time.Time) (p machine.Process, err error) {
	pid, rest, ok := strings.Cut(text, " (")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return p, fmt.Errorf("stat: %q has no name in parentheses", text)
	}
	f := strings.Fields(rest[end+2:]) // from field 3 on
	const (
		state, parent, user, system, threads, start, resident = 0, 1, 11, 12, 17, 19, 21
	)
	if len(f) <= resident {
		return p, fmt.Errorf("stat: %d fields after the name, want %d or more", len(f), resident+1)
	}
	numbers := map[int]int64{}
	for _, i := range []int{parent, user, system, threads, start, resident} {
		if numbers[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return p, fmt.Errorf("stat: field %d: %w", i+3, err)
		}
	}
	if p.PID, err = strconv.Atoi(pid); err != nil {
		return p, fmt.Errorf("stat: %w", err)
	}
	p.Parent, p.Threads, p.State, p.Name = int(numbers[parent]), int(numbers[threads]), f[state], strings.ToValidUTF8(rest[:end], "?")
	p.CPU = machine.Seconds(float64(numbers[user]+numbers[system]) / ticks)
	p.Started = began.Add(time.Duration(float64(numbers[start]) / ticks * float64(time.Second))).UTC().Truncate(time.Second)
	p.Memory = numbers[resident] * int64(os.Getpagesize())
	return p, nil
}

// effectiveUser is the second number of the line "Uid:"; -1 if there is none.
func effectiveUser(status string) int {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if f := strings.Fields(rest); len(f) >= 2 {
				if n, err := strconv.Atoi(f[1]); err == nil {
					return n
				}
			}
		}
	}
	return -1
}

// command makes a line of the arguments, which end with zero bytes.
func command(text string) string {
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, "\x00", " ")), " ")
	text = strings.ToValidUTF8(text, "?")
	if len(text) > commandMax {
		text = strings.ToValidUTF8(text[:commandMax], "") + "…"
	}
	return text
}

var podPattern = regexp.MustCompile(`/pod([0-9a-f]{8}[-_0-9a-f]{24,28})(?:\.slice)?(?:/|$)`)

// podOf finds a pod's UID in the path of a cgroup, "0::/kubepods/besteffort/podUID/…".
func podOf(cgroup string) string {
	m := podPattern.FindStringSubmatch(strings.TrimSpace(cgroup))
	if m == nil {
		return ""
	}
	return strings.ReplaceAll(m[1], "_", "-")
}
