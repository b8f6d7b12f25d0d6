package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/machine"
)

// reading is an upgrade that reads some ranges of a bundle and answers with their hash.
func reading(ranges ...machine.Range) func(context.Context, Source, machine.UpgradeRequest, func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
	return func(_ context.Context, src Source, q machine.UpgradeRequest, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
		h := sha256.New()
		for _, r := range ranges {
			b := make([]byte, r.Length)
			n, err := src.ReadAt(b, r.Offset)
			if err != nil && !errors.Is(err, io.EOF) {
				return machine.UpgradeResult{}, err
			}
			h.Write(b[:n])
			progress(machine.UpgradeProgress{Phase: "root", Done: r.Offset})
		}
		return machine.UpgradeResult{To: machine.System{Slot: "b", Version: fmt.Sprintf("%x", h.Sum(nil))}, Total: src.Size(), Armed: !q.Stage}, nil
	}
}

func TestAPushBringsExactlyTheRangesThatAreAskedFor(t *testing.T) {
	bundle := make([]byte, 5<<20+123)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range bundle {
		bundle[i] = byte(rng.Uint32())
	}
	ranges := []machine.Range{{Offset: 0, Length: 4096}, {Offset: 4 << 20, Length: 1<<20 + 123}, {Offset: 77, Length: 3 << 20}, {Offset: 5<<20 + 100, Length: 4096}}
	want := sha256.New()
	for _, r := range ranges {
		want.Write(bundle[r.Offset:min(r.Offset+r.Length, int64(len(bundle)))])
	}
	n := newNode(t, func(n *node) { n.limits.body, n.limits.push = 200*time.Millisecond, 300*time.Millisecond })
	n.slots.upgrade = func(ctx context.Context, src Source, q machine.UpgradeRequest, p func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
		time.Sleep(500 * time.Millisecond) // as an upgrade does that looks at the disk first: longer than a body may take
		if _, err := src.ReadAt(make([]byte, 10), 5); err != nil {
			return machine.UpgradeResult{}, err
		}
		time.Sleep(500 * time.Millisecond) // and between two reads: longer than one of them may take
		return reading(ranges...)(ctx, src, q, p)
	}
	for name, c := range map[string]*machine.Client{"network": n.dial(t, machine.RoleAdmin), "socket": machine.Local(n.socket)} {
		phases := 0
		result, err := c.Push(within(t, 30*time.Second), machine.UpgradeRequest{Stage: true}, bytes.NewReader(bundle), int64(len(bundle)),
			func(machine.UpgradeProgress) { phases++ })
		if err != nil {
			t.Errorf("%s: Push = %v", name, err)
			continue
		}
		if got := fmt.Sprintf("%x", want.Sum(nil)); result.To.Version != got || result.Total != int64(len(bundle)) || phases == 0 {
			t.Errorf("%s: Push = %+v after %d lines of progress, want the hash %s of the ranges", name, result, phases, got)
		}
	}
	if a := n.asks(); len(a) > 0 {
		t.Errorf("PID 1 was asked %v: a staged upgrade reboots nothing", a)
	}
}

func TestAnArmedUpgradeRebootsUnlessItIsNotToAndErrorsKeepTheirStatus(t *testing.T) {
	n := newNode(t, nil)
	c := n.dial(t, machine.RoleAdmin)
	n.slots.open = func(string) (Source, error) { return &pushed{size: 1}, nil }
	n.slots.upgrade = reading()
	result, err := c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x", NoReboot: true}, nil)
	if err != nil || !result.Armed || result.Reboot || len(n.asks()) > 0 {
		t.Errorf("Upgrade without reboot = %+v, %v; PID 1 was asked %v", result, err, n.asks())
	}
	result, err = c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x"}, nil)
	if a := n.asks(); err != nil || !result.Reboot || len(a) != 1 || a[0].Op != control.OpReboot {
		t.Errorf("Upgrade = %+v, %v; PID 1 was asked %v, want a reboot", result, err, a)
	}
	n.slots.upgrade = func(context.Context, Source, machine.UpgradeRequest, func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
		return machine.UpgradeResult{}, &machine.Error{Status: 422, Message: "wrong board"}
	}
	if _, err := c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x"}, nil); !errors.Is(err, machine.ErrRefused) {
		t.Errorf("refused bundle: Upgrade = %v, want ErrRefused", err)
	}
	n.slots.busy = true
	if _, err := c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x"}, nil); !errors.Is(err, machine.ErrBusy) {
		t.Errorf("second at once: Upgrade = %v, want ErrBusy", err)
	}
	if err := c.Reboot(within(t, 10*time.Second)); !errors.Is(err, machine.ErrBusy) {
		t.Errorf("Reboot during an upgrade = %v, want ErrBusy", err)
	}
}

func TestNothingIsChangedWhileSomethingIsOnTrial(t *testing.T) {
	n := newNode(t, nil)
	writeConfig(t, n, "")
	c := n.dial(t, machine.RoleAdmin)
	n.slots.open = func(string) (Source, error) { return &pushed{size: 1}, nil }
	n.slots.upgrade = reading()
	for name, change := range map[string]func(*control.Status){
		"upgrade": func(s *control.Status) {
			s.Trial = &control.Trial{Kind: control.TrialUpgrade, Slot: "b", Waiting: "the node"}
		},
		"config": func(s *control.Status) { s.Trial = &control.Trial{Kind: control.TrialConfig} },
		"end":    func(s *control.Status) { s.Trial = nil; s.Ending = "reboot" },
	} {
		n.set(change)
		if _, err := c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x"}, nil); !errors.Is(err, machine.ErrBusy) {
			t.Errorf("%s: Upgrade = %v, want ErrBusy", name, err)
		}
		if _, err := c.PutConfig(within(t, 10*time.Second), []byte("role: server\n")); !errors.Is(err, machine.ErrBusy) {
			t.Errorf("%s: PutConfig = %v, want ErrBusy", name, err)
		}
	}
	n.set(func(s *control.Status) { s.Ending = ""; s.Trial = &control.Trial{Result: "passed"} })
	if _, err := c.Upgrade(within(t, 10*time.Second), machine.UpgradeRequest{URL: "http://x", Stage: true}, nil); err != nil {
		t.Errorf("after the trial: Upgrade = %v", err)
	}
}

func TestAnUpgradeEndsWithItsClient(t *testing.T) {
	n := newNode(t, nil)
	began, ended := make(chan struct{}), make(chan error, 1)
	n.slots.upgrade = func(ctx context.Context, src Source, _ machine.UpgradeRequest, _ func(machine.UpgradeProgress)) (machine.UpgradeResult, error) {
		close(began)
		_, err := src.ReadAt(make([]byte, 1000), 0) // the client never brings them
		ended <- err
		return machine.UpgradeResult{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-began
		cancel()
	}()
	in, out := io.Pipe() // a client that asks and then says nothing
	defer out.Close()
	req, err := http.NewRequestWithContext(ctx, "POST", "https://"+n.address+"/v1/upgrade/push?size=1000", in)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := n.http(t, true, machine.RoleAdmin).Do(req); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("ReadAt of a client that has gone = nil")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the upgrade goes on without its client")
	}
	n.alive(t)
}

func TestBadRequestsForAnUpgrade(t *testing.T) {
	n := newNode(t, nil)
	client := n.http(t, true, machine.RoleAdmin)
	for _, x := range []struct {
		path, kind, body string
		want             int
	}{
		{"/v1/upgrade", "application/json", `{}`, 400},
		{"/v1/upgrade", "application/json", `{"url":"http://x","reboot":true}`, 400}, // no such field
		{"/v1/upgrade", "application/json", `{"url":"http://x"} {}`, 400},
		{"/v1/upgrade", "application/json", `{"url":`, 400},
		{"/v1/upgrade", "text/plain", `{"url":"http://x"}`, 415},
		{"/v1/upgrade/push", "", "", 400},
		{"/v1/upgrade/push?size=-1", "", "", 400},
		{"/v1/upgrade/push?size=5&stage=perhaps", "", "", 400},
	} {
		req, err := http.NewRequest("POST", "https://"+n.address+x.path, bytes.NewReader([]byte(x.body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", x.kind)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != x.want {
			t.Errorf("POST %s %s = %d, want %d", x.path, x.body, resp.StatusCode, x.want)
		}
	}
}
