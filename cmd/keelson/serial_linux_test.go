package main

import (
	"testing"
	"time"

	"github.com/keelson-os/keelson/imagebuilder"
)

func TestSerialIsTheTimeOfTheBuildUnlessGiven(t *testing.T) {
	defer func(old string) { buildEpoch = old }(buildEpoch)
	for _, c := range []struct {
		name, env, linked   string
		serial, want, built int64 // built is 0 for no time
		present             bool
	}{
		{name: "environment first", env: "1700000000", linked: "1600000000", serial: noSerial, want: 1700000000, built: 1700000000},
		{name: "then the program's own", linked: "1600000000", serial: noSerial, want: 1600000000, built: 1600000000},
		{name: "given", env: "1700000000", serial: 7, want: 7, built: 1700000000},
		{name: "given, without a time", serial: 7, want: 7},
		{name: "nothing fixes it", serial: noSerial, present: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SOURCE_DATE_EPOCH", c.env)
			buildEpoch = c.linked
			o := imagebuilder.Options{Serial: c.serial}
			before := time.Now().Unix()
			got, err := completeSerial(&o)
			if err != nil {
				t.Fatal(err)
			}
			if c.present {
				if o.Serial < before || got.present != o.Serial {
					t.Errorf("serial %d, told as %d, want the present time %d", o.Serial, got.present, before)
				}
			} else if o.Serial != c.want || got.present != 0 {
				t.Errorf("serial %d, told as %d, want %d and nothing told", o.Serial, got.present, c.want)
			}
			if got.IsZero() != (c.built == 0) || c.built != 0 && got.Unix() != c.built {
				t.Errorf("time of the build is %v, want %d", got.Time, c.built)
			}
		})
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := completeSerial(&imagebuilder.Options{Serial: noSerial}); err == nil {
		t.Error("SOURCE_DATE_EPOCH=yesterday: want an error")
	}
}
