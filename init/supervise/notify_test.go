package supervise

import (
	"reflect"
	"testing"
	"time"

	"github.com/keelson-os/keelson/init/step"
)

func TestParseMessage(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Message
	}{
		{"ready", "READY=1", Message{Ready: true}},
		{"ready and status", "READY=1\nSTATUS=all = well\n", Message{Ready: true, Status: "all = well"}},
		{"not ready", "READY=0\nREADY\n", Message{}},
		{"stopping", "STOPPING=1", Message{Stopping: true}},
		{"steps", "X_KEELSON_STEP=datastore 120 ok\nX_KEELSON_STEP=api 3000 error: no port 6443 left\nX_KEELSON_STEP=x 1 error", Message{Steps: []step.Step{
			{Name: "datastore", Duration: 120 * time.Millisecond},
			{Name: "api", Duration: 3 * time.Second, Error: "no port 6443 left"},
			{Name: "x", Duration: time.Millisecond, Error: "error"},
		}}},
		{"bad steps", "X_KEELSON_STEP=\nX_KEELSON_STEP=a\nX_KEELSON_STEP=a b ok\nX_KEELSON_STEP=a -1 ok\nX_KEELSON_STEP=a 1 well\nX_KEELSON_STEP= 1 ok", Message{}},
		{"healthy", "X_KEELSON_HEALTHY=1", Message{Health: &Health{OK: true}}},
		{"not healthy", "X_KEELSON_HEALTHY=0: Node kitchen is NotReady: a=b", Message{Health: &Health{Reason: "Node kitchen is NotReady: a=b"}}},
		{"not healthy without a reason", "X_KEELSON_HEALTHY=0", Message{Health: &Health{Reason: "no reason given"}}},
		{"no health", "X_KEELSON_HEALTHY=\nX_KEELSON_HEALTHY=2\nX_KEELSON_HEALTHY=01\nX_KEELSON_HEALTHY=true", Message{}},
		{"others", "WATCHDOG=1\nMAINPID=7\n\n", Message{}},
		{"empty", "", Message{}},
	} {
		if got := ParseMessage([]byte(c.in)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: ParseMessage(%q) = %+v, want %+v", c.name, c.in, got, c.want)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=x\nX_KEELSON_STEP=a 12 error:b\n"))
	f.Add([]byte("X_KEELSON_HEALTHY=0:no\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if h := ParseMessage(p).Health; h != nil && (h.OK == (h.Reason != "") || len(h.Reason) > stepMax) {
			t.Errorf("ParseMessage(%q): health %+v", p, h)
		}
		for _, s := range ParseMessage(p).Steps {
			if s.Name == "" || s.Duration < 0 || len(s.Error) > stepMax {
				t.Errorf("ParseMessage(%q): step %+v", p, s)
			}
		}
	})
}

func TestClassify(t *testing.T) {
	for line, want := range map[string]severity{
		"I1123 12:00:00.000000       1 server.go:1] fine":   routine,
		"W1123 12:00:00.000000       1 server.go:1] hm":     routine,
		"E1123 12:00:00.000000       1 server.go:1] bad":    warning,
		"F1123 12:00:00.000000       1 server.go:1] end":    fatal,
		"Everything is fine":                                routine,
		"Fancy":                                             routine,
		`time="2026-01-01T00:00:00Z" level=info msg="x"`:    routine,
		`time="2026-01-01T00:00:00Z" level=warning msg="x"`: routine,
		`time="2026-01-01T00:00:00Z" level=error msg="x"`:   warning,
		`time="2026-01-01T00:00:00Z" level=fatal msg="x"`:   fatal,
		`{"level":"error","msg":"x"}`:                       warning,
		`time=2026-01-01T00:00:00Z level=WARN msg=x`:        warning,
		"panic: runtime error: index out of range":          fatal,
		"fatal error: concurrent map writes":                fatal,
		"SIGSEGV: segmentation violation":                   fatal,
		"":                                                  routine,
	} {
		if got := classify(line); got != want {
			t.Errorf("classify(%q) = %d, want %d", line, got, want)
		}
	}
}
