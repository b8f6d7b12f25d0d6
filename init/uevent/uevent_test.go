package uevent

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsAKernelEvent(t *testing.T) {
	in := "add@/devices/pci0000:00/0000:00:03.0\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:03.0\x00SUBSYSTEM=pci\x00MODALIAS=pci:v00001AF4d00001000\x00SEQNUM=12\x00"
	got, err := Parse([]byte(in))
	want := Event{Action: "add", Devpath: "/devices/pci0000:00/0000:00:03.0", Env: map[string]string{
		"ACTION": "add", "DEVPATH": "/devices/pci0000:00/0000:00:03.0", "SUBSYSTEM": "pci",
		"MODALIAS": "pci:v00001AF4d00001000", "SEQNUM": "12",
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %v, %v, want %v", got, err, want)
	}
}

func TestParseRefusesOtherMessages(t *testing.T) {
	for _, in := range []string{"", "libudev\x00\xfe\xed\xca\xfe", "add", "@/x", "add@x"} {
		if _, err := Parse([]byte(in)); !errors.Is(err, ErrNotKernel) {
			t.Errorf("Parse(%q) = %v, want ErrNotKernel", in, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00ACTION=add\x00A\x00=\x00"))
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := Parse(p)
		if err == nil && (e.Action == "" || !strings.HasPrefix(e.Devpath, "/")) {
			t.Errorf("Parse(%q) = %v", p, e)
		}
	})
}
