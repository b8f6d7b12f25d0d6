package testcluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/qemu"
)

func TestKubeconfigIsTheClustersBesideTheImage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "homelab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "homelab", "kubeconfig"), []byte("it"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    Options
		want string // empty: an error with this word in it
		say  string
	}{
		{Options{Image: filepath.Join(dir, "homelab.img")}, "it", ""},
		{Options{Image: filepath.Join(dir, "homelab.img.zst")}, "it", ""},
		{Options{Image: filepath.Join(dir, "other.img"), Kubeconfig: filepath.Join(dir, "homelab", "kubeconfig")}, "it", ""},
		{Options{Image: filepath.Join(dir, "other.img")}, "", "keelson config new"},
		{Options{}, "", "Options.Image"},
	} {
		got, err := tt.o.kubeconfig()
		if string(got) != tt.want || (err == nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.say) {
			t.Errorf("kubeconfig of %+v = %q, %v, want %q %s", tt.o, got, err, tt.want, tt.say)
		}
	}
}

func TestPortsAreForwardedOnceAndTheAPIFirst(t *testing.T) {
	o := Options{Image: "a", APIPort: 7443, Ports: []int{80, 7443, 30080, 80}, Machine: func(c *qemu.Config) { c.CPUs = 3 }}
	c := o.config()
	var got []int
	for _, f := range c.Forwards {
		got = append(got, f.Guest)
		if f.Host != 0 {
			t.Errorf("port %d of this computer was asked for, expected any free one", f.Host)
		}
	}
	if want := []int{7443, 80, 30080}; !slices.Equal(got, want) || c.CPUs != 3 {
		t.Errorf("config = %+v, want the ports %v and 3 CPUs", c, want)
	}
	if c := (&Options{}).config(); c.Forwards[0].Guest != 6443 {
		t.Errorf("config of nothing forwards %+v, want 6443", c.Forwards)
	}
}

// timed is a test that must end at some time.
type timed struct {
	testing.TB
	end time.Time
}

func (t timed) Deadline() (time.Time, bool) { return t.end, !t.end.IsZero() }

func TestBootEndsBeforeTheTestDoes(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		timeout time.Duration
		end     time.Time
		want    time.Duration
	}{
		{0, time.Time{}, 10 * time.Minute},
		{time.Minute, now.Add(time.Hour), time.Minute},
		{0, now.Add(5 * time.Minute), 5*time.Minute - reserve},
	} {
		ctx, cancel := (&Options{Timeout: tt.timeout}).bound(timed{t, tt.end})
		defer cancel()
		end, ok := ctx.Deadline()
		if got := end.Sub(now); !ok || got < tt.want-time.Second || got > tt.want+10*time.Second {
			t.Errorf("the boot of %+v has %s, want %s", tt, got, tt.want)
		}
	}
}
