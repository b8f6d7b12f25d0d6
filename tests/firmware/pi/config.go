package pi

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Limits of config.txt.
const (
	maxLine    = 98   // characters of a line; what follows is ignored
	maxInclude = 64   // characters of a file name behind "include" ("include %64s" in start4.elf)
	maxConfig  = 4096 // bytes: the smallest limit anybody reported (raspberrypi/firmware issue 1848)
	maxFiles   = 16   // files read in all, so that includes cannot go round in a circle; the documentation names no limit
)

// early are settings that bootcode.bin or the EEPROM of a Pi 4 takes from config.txt, without its includes.
var early = filters("start_file", "fixup_file", "start_x", "start_debug", "gpu_mem", "gpu_mem_256", "gpu_mem_512", "gpu_mem_1024",
	"uart_2ndstage", "bootcode_delay", "total_mem", "boot_ramdisk")

// config is config.txt as one model understands it.
type config struct {
	set       map[string]string
	initramfs [2]string // file, address
	files     []string  // config.txt and what it includes, in order
	faults    []string
}

// filterState is which lines count: filters of one kind replace each other, those of different kinds add up.
type filterState struct{ model, other bool }

// parseConfig reads config.txt. read returns a file of the FAT partition.
func parseConfig(read func(string) ([]byte, error), m Model) *config {
	c := &config{set: map[string]string{}}
	state := filterState{true, true}
	c.file(read, m, "config.txt", false, &state)
	return c
}

func (c *config) faultf(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *config) file(read func(string) ([]byte, error), m Model, name string, included bool, state *filterState) {
	text, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		c.faultf("%s: is not on the FAT partition", name)
		return
	}
	if err != nil {
		c.faultf("%s: %v", name, err)
		return
	}
	c.files = append(c.files, name)
	if len(text) > maxConfig {
		c.faultf("%s: %d bytes, some firmware reads %d", name, len(text), maxConfig)
	}
	if i := bytes.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\r' && r != '\t' && (r < ' ' || r > '~') }); i >= 0 {
		c.faultf("%s: byte %d is not printable ASCII", name, i)
	}
	number := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		at := fmt.Sprintf("%s:%d", name, number)
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if len(line) > maxLine {
			c.faultf("%s: %d characters, the firmware reads %d", at, len(line), maxLine)
			line = line[:maxLine]
		}
		if inner, ok := strings.CutPrefix(line, "["); ok {
			inner, closed := strings.CutSuffix(strings.TrimSpace(inner), "]")
			if !closed {
				c.faultf("%s: filter %q has no end", at, line)
				continue
			}
			c.filter(at, inner, m, state)
			continue
		}
		if !state.model || !state.other {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "include "); ok {
			if len(rest) > maxInclude || len(c.files) >= maxFiles || rest == "" {
				c.faultf("%s: include %q: name of %d characters, want 1 to %d; %d files are read already", at, rest, len(rest), maxInclude, len(c.files))
				continue
			}
			c.file(read, m, rest, true, state)
			continue
		}
		if rest, ok := strings.CutPrefix(line, "initramfs "); ok {
			words := strings.Fields(rest)
			if len(words) != 2 {
				c.faultf("%s: %q, want \"initramfs FILE followkernel\"", at, line)
				continue
			}
			c.initramfs = [2]string(words)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			c.faultf("%s: %q is neither a setting nor a filter", at, line)
			continue
		}
		// Blanks around "=" and behind the value are part of the name and the value.
		if strings.TrimSpace(key) != key || strings.TrimSpace(value) != value || key == "" {
			c.faultf("%s: blanks around the name or the value in %q are taken as they are", at, line)
		}
		if included && early[key] && m.Gen != Gen5 {
			c.faultf("%s: %s is read before files are included, it must be in config.txt", at, key)
			continue
		}
		c.set[key] = value
	}
}

// filter applies a [filter] line.
func (c *config) filter(at, name string, m Model, state *filterState) {
	switch {
	case name == "all":
		*state = filterState{true, true}
	case name == "none":
		state.model = false
	case name == "tryboot":
		state.other = false // set by a reboot that a mainline kernel cannot ask for
	case strings.HasPrefix(name, "board-type="):
		n, err := strconv.ParseInt(strings.TrimPrefix(name, "board-type="), 0, 32)
		if err != nil {
			c.faultf("%s: [%s]: %v", at, name, err)
		}
		state.model = err == nil && int(n) == m.Type
	case strings.HasPrefix(name, "EDID="), strings.HasPrefix(name, "gpio"), strings.HasPrefix(name, "0x"), strings.HasPrefix(name, "HDMI:"):
		c.faultf("%s: [%s] depends on more than the model", at, name)
		state.other = false
	case known[name]:
		state.model = m.Filters[name]
	default:
		// raspberrypi/firmware issue 1839: its lines count for every model.
		c.faultf("%s: the firmware does not know the filter [%s] and reads its lines on every model", at, name)
	}
}

// flag is a setting that is a number: its value, or otherwise.
func (c *config) flag(key string, otherwise int) int {
	v, ok := c.set[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 0, 64)
	if err != nil {
		c.faultf("config.txt: %s=%s is not a number", key, v)
		return otherwise
	}
	return int(n)
}
