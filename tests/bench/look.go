package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// lookEnd is the last line of the pod's output.
const lookEnd = "end of look"

// lookPod is the pod that looks at the node: idle seconds, then two looks at CPU time and
// writes, that many seconds apart, and one at the memory. It sees the node's processes and
// costs one sandbox and one shell, which the page names.
const lookPod = `apiVersion: v1
kind: Pod
metadata: {name: look, namespace: default}
spec:
  hostPID: true
  restartPolicy: Never
  containers:
  - name: look
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    securityContext: {privileged: true}
    command: [sh, -c]
    args:
    - |
      node=
      for p in /proc/[0-9]*; do
        [ "$(readlink $p/exe)" = /usr/bin/node ] && [ "$(tr -d '\0' < $p/cmdline)" = /bin/node ] && node=${p#/proc/}
      done
      look() {
        echo "uptime $(cat /proc/uptime)"
        echo "node $(cat /proc/$node/stat)"
        grep ' vda5 \| sda5 \| nvme0n1p5 ' /proc/diskstats | sed 's/^/disk /'
      }
      sleep %d
      look
      sleep %d
      look
      cat /proc/meminfo | sed 's/^/meminfo /'
      for p in /proc/[0-9]*; do
        name=; rss=; anon=
        while read -r key value _; do
          case $key in
          Name:) name=$value;; VmRSS:) rss=$value;; RssAnon:) anon=$value;;
          esac
        done < $p/status 2>/dev/null
        [ -n "$rss" ] && echo "process ${p#/proc/} $name $rss $anon"
      done
      echo end of look
`

// process is one process of the node.
type process struct {
	pid       int
	name      string
	rss, anon int64 // KiB
}

// look is what the pod saw.
type look struct {
	seconds   float64 // between the two looks
	nodeCPU   float64 // seconds of CPU time that the node process used between them
	written   int64   // bytes that reached the state partition between them
	total     int64   // KiB, MemTotal
	available int64   // KiB, MemAvailable
	processes []process
}

// clockTicks per second, of utime and stime; the kernel's USER_HZ is 100 on every platform.
const clockTicks = 100

// parseLook reads the pod's output.
func parseLook(text string) (look, error) {
	var l look
	var uptime, cpu []float64
	var sectors []int64
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "uptime":
			v, err := strconv.ParseFloat(f[1], 64)
			if err != nil {
				return l, err
			}
			uptime = append(uptime, v)
		case "node":
			// proc(5): the name in parentheses may hold spaces; utime and stime are 14 and 15.
			_, rest, ok := strings.Cut(line, ") ")
			g := strings.Fields(rest)
			if !ok || len(g) < 13 {
				return l, fmt.Errorf("no stat of a process: %q", line)
			}
			user, err1 := strconv.ParseFloat(g[11], 64)
			system, err2 := strconv.ParseFloat(g[12], 64)
			if err := errors.Join(err1, err2); err != nil {
				return l, err
			}
			cpu = append(cpu, (user+system)/clockTicks)
		case "disk":
			// Documentation/admin-guide/iostats: field 7 is sectors written, of 512 bytes.
			if len(f) < 11 {
				return l, fmt.Errorf("no line of diskstats: %q", line)
			}
			v, err := strconv.ParseInt(f[10], 10, 64)
			if err != nil {
				return l, err
			}
			sectors = append(sectors, v)
		case "meminfo":
			if len(f) < 3 {
				continue
			}
			v, err := strconv.ParseInt(f[2], 10, 64)
			if err != nil {
				return l, err
			}
			switch f[1] {
			case "MemTotal:":
				l.total = v
			case "MemAvailable:":
				l.available = v
			}
		case "process":
			if len(f) != 5 {
				return l, fmt.Errorf("no process: %q", line)
			}
			pid, err1 := strconv.Atoi(f[1])
			rss, err2 := strconv.ParseInt(f[3], 10, 64)
			anon, err3 := strconv.ParseInt(f[4], 10, 64)
			if err := errors.Join(err1, err2, err3); err != nil {
				return l, err
			}
			l.processes = append(l.processes, process{pid: pid, name: f[2], rss: rss, anon: anon})
		}
	}
	if len(uptime) != 2 || len(cpu) != 2 || len(sectors) != 2 || l.total == 0 || len(l.processes) == 0 || uptime[1] <= uptime[0] {
		return l, errors.New("something is missing")
	}
	l.seconds = uptime[1] - uptime[0]
	l.nodeCPU = cpu[1] - cpu[0]
	l.written = (sectors[1] - sectors[0]) * 512
	slices.SortFunc(l.processes, func(a, b process) int { return int(b.rss - a.rss) })
	return l, nil
}
