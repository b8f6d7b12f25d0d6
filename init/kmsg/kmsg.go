// Package kmsg follows the kernel's log for the one message an operator must not miss: a
// block of the root that dm-verity refused.
package kmsg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Path is the kernel's log.
const Path = "/dev/kmsg"

// Corruption is a block that dm-verity refused.
type Corruption struct {
	Device string // "254:0"
	Kind   string // "data" or "metadata" (a block of the hash tree)
	Block  uint64 // of 4096 bytes, from the start of the data or of the partition
}

// ParseCorruption reads a record of Path, for example
//
//	3,642,1234567,-;device-mapper: verity: 254:0: data block 5 is corrupted
//
// Source: drivers/md/dm-verity-target.c, verity_handle_err; Documentation/ABI/testing/dev-kmsg.
func ParseCorruption(record string) (c Corruption, ok bool) {
	record, _, _ = strings.Cut(record, "\n") // what follows is a dictionary
	_, text, ok := strings.Cut(record, ";")
	if !ok {
		return c, false
	}
	text, ok = strings.CutPrefix(text, "device-mapper: verity: ")
	if !ok {
		return c, false
	}
	text, ok = strings.CutSuffix(text, " is corrupted")
	if !ok {
		return c, false
	}
	dev, what, ok := strings.Cut(text, ": ")
	if !ok {
		return c, false
	}
	kind, block, ok := strings.Cut(what, " block ")
	if !ok {
		return c, false
	}
	n, err := strconv.ParseUint(block, 10, 64)
	if err != nil {
		return c, false
	}
	return Corruption{Device: dev, Kind: kind, Block: n}, true
}

// Line says it to an operator; part is the device of the slot's root partition.
func (c Corruption) Line(slot, part string) string {
	return fmt.Sprintf("root corrupted: slot %s, %s: dm-verity refused %s block %d, which does not have the hash this image was built with",
		slot, part, c.Kind, c.Block)
}

// Watch calls report for each corruption the kernel logged since it started, and then for
// each new one, until ctx is done.
func Watch(ctx context.Context, report func(Corruption)) error {
	f, err := os.OpenFile(Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 8<<10) // one record per read; a shorter buffer is EINVAL
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EPIPE): // records were overwritten before we read them
			continue
		case err != nil:
			return err
		}
		if c, ok := ParseCorruption(string(buf[:n])); ok {
			report(c)
		}
	}
}

// Scan returns what Watch would report now, without waiting.
func Scan() []Corruption {
	fd, err := unix.Open(Path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var found []Corruption
	buf := make([]byte, 8<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue
		case err != nil || n <= 0:
			return found
		}
		if c, ok := ParseCorruption(string(buf[:n])); ok {
			found = append(found, c)
		}
	}
}
