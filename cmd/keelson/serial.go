//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/keelson-os/keelson/imagebuilder"
)

// buildEpoch is set when the program is linked: the time of the build as SOURCE_DATE_EPOCH, that of the commit. The node's
// programs are built with it, by the same run of the Makefile.
var buildEpoch string

// noSerial is the serial of a build whose user named none.
const noSerial = math.MinInt64

// buildTime is what a build takes for its time: zero where nothing fixes it.
type buildTime struct {
	time.Time
	present int64 // the serial, if that is the present time, so that two builds differ; else 0
}

// tell says that a build cannot be repeated.
func (t buildTime) tell(p imagebuilder.Progress) {
	if t.present != 0 {
		p.Note(fmt.Sprintf("the serial is the present time, %d: give --serial, or set SOURCE_DATE_EPOCH, for a build that can be repeated", t.present))
	}
}

// completeSerial puts the time of the build in the place of a serial that was not given.
func completeSerial(o *imagebuilder.Options) (buildTime, error) {
	t, err := timeOfBuild(os.Getenv("SOURCE_DATE_EPOCH"), buildEpoch)
	if err != nil || o.Serial != noSerial {
		return t, err
	}
	if o.Serial = t.Unix(); t.IsZero() {
		o.Serial = time.Now().Unix()
		t.present = o.Serial
	}
	return t, nil
}

// timeOfBuild is SOURCE_DATE_EPOCH, else when this program was built, else zero.
// Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification".
func timeOfBuild(env, linked string) (buildTime, error) {
	for _, text := range []string{env, linked} {
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return buildTime{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, want a time in whole seconds since 1970", text)
		}
		return buildTime{Time: time.Unix(n, 0)}, nil
	}
	return buildTime{}, nil
}
