// Package pislot reads and makes slot.txt, the file with which the firmware of a Raspberry Pi that starts the kernel itself
// is told the slot. It has 512 bytes, one sector, and is overwritten in place:
//
//	os_prefix=slot-a/           the slot that the firmware starts; config.txt includes the file
//	#keelson default=a trial=-  a comment to the firmware: the committed slot, and the slot on trial or "-"
//	####…                       more comments, in lines shorter than the firmware's limit of 98 characters
//
// The firmware cannot count tries. A trial is armed while both lines name the slot on trial; PID 1's first act in it is to put
// the default back into the first line. Each step from one state to the next changes one byte, so a cut write leaves the one or the other:
//
//	prefix default trial
//	  a       a      -    no trial
//	  a       a      b    b is on trial and has no tries left, or is about to be armed
//	  b       a      b    the next boot is a try of b
//	  b       b      b    b was committed; what is left is to forget the trial
//	  b       b      -    no trial
//
// A second line that is not exactly like this means: the default is what the firmware starts, no trial.
//
// Source: Raspberry Pi documentation, "config.txt" (include, os_prefix).
package pislot

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Size is the size of slot.txt, bytes.
const Size = 512

// Text is what slot.txt says; slots are "a" or "b", Trial also "".
type Text struct {
	Prefix, Default, Trial string
}

// ErrFormat is returned for a slot.txt that does not name a slot.
var ErrFormat = errors.New("slot.txt names no slot")

var (
	prefixLine = regexp.MustCompile(`(?m)^os_prefix=slot-([ab])/$`)
	stateLine  = regexp.MustCompile(`^os_prefix=slot-[ab]/\n#keelson default=([ab]) trial=([ab-])\n`)
)

// Parse reads slot.txt. Errors wrap ErrFormat.
func Parse(b []byte) (Text, error) {
	m := prefixLine.FindAllSubmatch(b, -1)
	if len(m) == 0 {
		return Text{}, fmt.Errorf("%w: want a line os_prefix=slot-a/ or os_prefix=slot-b/ in %d bytes", ErrFormat, len(b))
	}
	t := Text{Prefix: string(m[len(m)-1][1])} // the last setting counts
	t.Default = t.Prefix
	if s := stateLine.FindSubmatch(b); s != nil && len(m) == 1 {
		t.Default, t.Trial = string(s[1]), strings.Trim(string(s[2]), "-")
	}
	return t, nil
}

// Bytes returns slot.txt, Size bytes.
func (t Text) Bytes() []byte {
	trial := t.Trial
	if trial == "" {
		trial = "-"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "os_prefix=%s\n#keelson default=%s trial=%s\n", Folder(t.Prefix), t.Default, trial)
	for out.Len() < Size {
		n := min(64, Size-out.Len())
		out.WriteString(strings.Repeat("#", n-1) + "\n")
	}
	return []byte(out.String())
}

// Slot returns slot.txt for a slot without a trial.
func Slot(slot string) []byte { return Text{Prefix: slot, Default: slot}.Bytes() }

// Folder is the folder of a slot on the FAT partition, with a slash at its end.
func Folder(slot string) string { return "slot-" + slot + "/" }
