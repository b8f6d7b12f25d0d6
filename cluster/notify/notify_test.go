package notify

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDatagramsAreAsPID1ReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	n, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := os.LookupEnv("NOTIFY_SOCKET"); ok {
		t.Errorf("NOTIFY_SOCKET is still %q: upstream would send READY=1 by itself", v)
	}
	for _, tc := range []struct {
		name string
		send func() error
		want string
	}{
		{"step", func() error { return n.Step("apiserver", 1500*time.Millisecond, nil) }, "X_KEELSON_STEP=apiserver 1500 ok\n"},
		{"failed step", func() error { return n.Step("x", 0, errors.New("no\n  way")) }, "X_KEELSON_STEP=x 0 error:no way\n"},
		{"status", func() error { return n.Status("waiting for\nkubelet") }, "STATUS=waiting for kubelet\n"},
		{"ready", n.Ready, "READY=1\n"},
		{"healthy", func() error { return n.Healthy("") }, "X_KEELSON_HEALTHY=1\n"},
		{"not healthy", func() error { return n.Healthy("no\nAPI") }, "X_KEELSON_HEALTHY=0:no API\n"},
		{"a long reason", func() error { return n.Healthy(strings.Repeat("ä", 300)) }, "X_KEELSON_HEALTHY=0:" + strings.Repeat("ä", 198) + "…\n"},
	} {
		if err := tc.send(); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		buf := make([]byte, 4096)
		c, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:c]); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestWithoutSocketNothingIsSent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err != nil {
		t.Errorf("Ready() = %v, want nil", err)
	}
}

func TestOneLineBoundsItsLength(t *testing.T) {
	if got := oneLine(strings.Repeat("x ", 5000)); len(got) > maxText+4 || strings.Contains(got, "\n") {
		t.Errorf("oneLine() has %d bytes", len(got))
	}
}
