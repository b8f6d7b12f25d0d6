package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnAddressGetsThePortThatItLacks(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.5": "10.0.0.5:6440", "node": "node:6440", "node:1": "node:1", "2001:db8::1": "[2001:db8::1]:6440", "[2001:db8::1]": "[2001:db8::1]:6440",
		"[2001:db8::1]:7": "[2001:db8::1]:7", "fe80::1%eth0": "[fe80::1%eth0]:6440",
	} {
		if got, err := WithPort(in); err != nil || got != want {
			t.Errorf("WithPort(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":6440", "node:", "node:x", "node:0", "node:65536", "a:b:c", "https://node", "a b", "user@node"} {
		if got, err := WithPort(in); err == nil {
			t.Errorf("WithPort(%q) = %q, want an error", in, got)
		}
	}
}

func TestDialWantsUsableCertificates(t *testing.T) {
	for _, c := range []Config{{}, {Address: "x"}, {Address: "x", CA: []byte("no"), Cert: []byte("no"), Key: []byte("no")}} {
		if _, err := Dial(c); err == nil {
			t.Errorf("Dial(%+v) = nil, want an error", c)
		}
	}
}

func TestErrorsAreKnownByTheirStatusAndKeepIt(t *testing.T) {
	for status, want := range map[int]error{
		403: ErrForbidden, 404: ErrNotFound, 409: ErrBusy, 422: ErrRefused, 503: ErrUnavailable, 429: ErrUnavailable,
	} {
		err := fmt.Errorf("node: %w", &Error{Status: status, Message: "m", Do: "d"})
		for _, e := range []error{ErrForbidden, ErrNotFound, ErrBusy, ErrRefused, ErrUnavailable} {
			if errors.Is(err, e) != (e == want) {
				t.Errorf("status %d is %v: %v", status, e, errors.Is(err, e))
			}
		}
		if err.Error() != "node: m; d" {
			t.Errorf("Error = %q", err)
		}
	}
}

func TestWhatIsNotThereIsNotInTheJSON(t *testing.T) {
	data, err := json.Marshal(Status{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"trial\":{", "upgrade\"", "configUndone", "problems", "heard"} {
		if strings.Contains(string(data), name) {
			t.Errorf("an empty status has %s: %s", name, data)
		}
	}
	var back Status
	if err := json.Unmarshal(data, &back); err != nil {
		t.Error(err)
	}
}

func TestSecondsAreADurationAndBack(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 1500 * time.Millisecond, 100 * time.Hour, -time.Second} {
		if got := SecondsOf(d).Duration(); got != d {
			t.Errorf("%v is %v after a way through Seconds", d, got)
		}
	}
}

func TestALineThatIsNoJSONOrTooLongIsAnError(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "{\"id\":1}\nhello\n", "too long": `{"text":"` + strings.Repeat("x", lineMax) + `"}`} {
		n := 0
		if err := lines(strings.NewReader(text), func(Event) error { n++; return nil }); err == nil {
			t.Errorf("%s: lines = nil after %d lines", name, n)
		}
	}
	n := 0
	if err := lines(strings.NewReader("{\"id\":1}\n\n{\"id\":2}"), func(e Event) error { n += int(e.ID); return nil }); err != nil || n != 3 {
		t.Errorf("lines = %v, sum of the IDs %d, want 3", err, n)
	}
}

func FuzzAnswersOfANodeAreNotBelieved(f *testing.F) {
	f.Add(`{"read":{"offset":0,"length":5}}` + "\n" + `{"result":{"armed":true}}`)
	f.Add(`{"read":{"offset":-1,"length":9223372036854775807}}`)
	f.Add(`{"error":{"status":422,"error":"no"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c := &Client{base: "https://node:1", http: &http.Client{}}
		result, err := c.follow(strings.NewReader(text), func(UpgradeProgress) {}, func(r Range) error {
			if r.Length > 1<<30 {
				return errors.New("too much")
			}
			return nil
		})
		if err == nil && !strings.Contains(text, "result") {
			t.Errorf("follow(%q) = %+v, nil: an upgrade without a result", text, result)
		}
	})
}
