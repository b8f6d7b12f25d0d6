package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/machine"
)

// takesBundle makes the node ask a pushing client for these ranges and compare them with the file; done's answer ends the stream.
func (n *fakeNode) takesBundle(t *testing.T, file string, ranges []machine.Range, done func() machine.UpgradeMessage) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n.mux.HandleFunc("POST /v1/upgrade/push", func(w http.ResponseWriter, r *http.Request) {
		out := json.NewEncoder(w)
		say := func(m machine.UpgradeMessage) {
			out.Encode(m)
			http.NewResponseController(w).Flush()
		}
		say(machine.UpgradeMessage{Progress: &machine.UpgradeProgress{Phase: "root", Total: 100}})
		for _, x := range ranges {
			say(machine.UpgradeMessage{Read: &x})
			got := make([]byte, x.Length)
			if _, err := io.ReadFull(r.Body, got); err != nil || !bytes.Equal(got, data[x.Offset:x.Offset+x.Length]) {
				t.Errorf("the client sent other bytes than %d+%d of the file: %v", x.Offset, x.Length, err)
			}
		}
		say(done())
	})
}

func written(reboot bool) machine.UpgradeMessage {
	return machine.UpgradeMessage{Result: &machine.UpgradeResult{
		From: machine.System{Slot: "a", Version: "0.1.0"}, To: machine.System{Slot: "b", Version: "0.2.0"},
		Armed: true, Reboot: reboot, Total: 100e6, Fetched: 8e6, Reused: 92e6, Written: 100e6, Duration: 3.25,
	}}
}

// attempt puts an upgrade's attempt into a status.
func attempt(id, state, reason string) func(*machine.Status) {
	return func(s *machine.Status) {
		s.Upgrade = &machine.Attempt{ID: id, From: machine.System{Slot: "a", Version: "0.1.0"}, To: machine.System{Slot: "b", Version: "0.2.0"}, State: state, Reason: reason}
	}
}

func TestUpgradePushesWhatTheNodeAsksForAndWaitsUntilItIsGood(t *testing.T) {
	_, s := newCluster(t, "home")
	file := newBundle(t, filepath.Join("home", "release.key"))
	n := newFakeNode(t, s, "kitchen")
	n.set(attempt("1", machine.AttemptGood, "")) // of an earlier upgrade: not what is waited for
	n.takesBundle(t, file, []machine.Range{{Offset: 4096, Length: 5000}, {Offset: 0, Length: 64}}, func() machine.UpgradeMessage {
		n.reboots(attempt("2", machine.AttemptArmed, ""))
		looks := 0
		n.then(func(s *machine.Status) {
			switch looks++; looks {
			case 1:
				s.Trial = &machine.Trial{Kind: "upgrade", Slot: "b", Waiting: "the node process"}
				s.Upgrade.State = machine.AttemptTrying
			case 2:
				s.Trial = nil
				s.Upgrade.State = machine.AttemptGood
			}
		})
		return written(true)
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	out, errs, err := keelson(t, "upgrade", file)
	if err != nil {
		t.Fatalf("upgrade: %v\n%s%s", err, out, errs)
	}
	for _, want := range []string{"8.0 MB of 100.0 MB fetched, 92.0 MB saved (92 % were on the disk already); 100.0 MB written in 3.2 s", "version 0.2.0 in slot b is good, "} {
		if !strings.Contains(out, want) {
			t.Errorf("upgrade = %q, want %q", out, want)
		}
	}
	for _, want := range []string{"write the root\n", "trial: the node process\n"} {
		if !strings.Contains(errs, want) {
			t.Errorf("upgrade shows %q, want %q", errs, want)
		}
	}
}

func TestUpgradeThatRollsBackSaysWhy(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.post("/v1/upgrade", func(r *http.Request) any {
		var q machine.UpgradeRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.URL != "https://example.net/x.keelson" || q.SHA256 == "" {
			t.Errorf("asked %+v, %v", q, err)
		}
		n.reboots(attempt("7", machine.AttemptRolledBack, "the kernel did not start in 3 tries"))
		n.set(func(s *machine.Status) {
			s.Upgrade.Tail, s.Upgrade.Panic = []string{"keelson: node: waiting"}, "<6>[    0.1] Console: colour dummy device\n<0>[    9.1] Kernel panic - not syncing: x\n<4>[    9.2] CPU: 0\n"
		})
		return written(true)
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	out, _, err := keelson(t, "upgrade", "https://example.net/x.keelson", "--sha256", strings.Repeat("ab", 32))
	if err == nil {
		t.Fatalf("upgrade = nil, want what came of it\n%s", out)
	}
	for _, want := range []string{n.address + ": version 0.2.0 did not prove itself; the node is back on 0.1.0 in slot a: the kernel did not start in 3 tries\n",
		"last lines of the failed boot:\n  keelson: node: waiting", "last words:\n  [    9.1] Kernel panic - not syncing: x\n  [    9.2] CPU: 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("upgrade = %v, want %q", err, want)
		}
	}
	if !strings.Contains(out, "8.0 MB of 100.0 MB fetched") {
		t.Errorf("upgrade = %q, want what was written all the same", out)
	}
	out, _, err = keelson(t, "upgrade", "https://example.net/x.keelson", "--sha256", strings.Repeat("ab", 32), "--wait=false", "-o", "json")
	var u upgraded
	if err != nil || json.Unmarshal([]byte(out), &u) != nil || u.Reused != 92e6 || u.Attempt != nil {
		t.Errorf("upgrade -o json = %s, %v", out, err)
	}
}

func TestUpgradeIsRefused(t *testing.T) {
	_, s := newCluster(t, "home")
	file := newBundle(t, filepath.Join("home", "release.key"))
	n := newFakeNode(t, s, "kitchen")
	n.takesBundle(t, file, nil, func() machine.UpgradeMessage {
		return machine.UpgradeMessage{Error: &machine.Error{Status: 422, Message: "the bundle is for board rpi, this is pc", Do: "build one for pc"}}
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	refused(t, n.address+": the bundle is for board rpi, this is pc; build one for pc", "upgrade", file)
	for _, args := range [][]string{{"gone.keelson"}, {"ftp://x/y"}, {file, "--sha256", "abc"}, {os.Args[0]}} {
		if _, _, err := keelson(t, append([]string{"upgrade"}, args...)...); err == nil {
			t.Errorf("upgrade %q = nil, want a refusal", args)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("half.keelson", data[:len(data)-5000], 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "is cut short", "upgrade", "half.keelson")
}

func TestStageAndNoRebootDoNotWait(t *testing.T) {
	_, s := newCluster(t, "home")
	file := newBundle(t, filepath.Join("home", "release.key"))
	n := newFakeNode(t, s, "kitchen")
	n.takesBundle(t, file, nil, func() machine.UpgradeMessage {
		m := written(false)
		m.Result.Armed = !n.was("POST /v1/upgrade/push?size=" + sizeOf(t, file) + "&stage=true")
		return m
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	if out := mustKeelson(t, "upgrade", file, "--no-reboot"); !strings.Contains(out, "the next boot tries it: keelson reboot") || !n.was("POST /v1/upgrade/push?noReboot=true") {
		t.Errorf("upgrade --no-reboot = %q, asked %q", out, n.asked)
	}
	if out := mustKeelson(t, "upgrade", file, "--stage"); !strings.Contains(out, "staged, and the next boot is as before") {
		t.Errorf("upgrade --stage = %q, asked %q", out, n.asked)
	}
}

func TestRebootRollbackAndConfigurationAreWaitedFor(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.post("/v1/reboot", func(*http.Request) any {
		n.set(func(s *machine.Status) { s.Ending = "reboot" })
		n.then(func(s *machine.Status) { // the first look finds the old boot, still healthy
			n.onStatus = nil
			s.Uptime, s.Ending = 1, ""
		})
		return struct{}{}
	})
	n.post("/v1/rollback", func(*http.Request) any {
		n.reboots(attempt("9", machine.AttemptGood, ""))
		return machine.Rollback{From: "a", To: "b", Trial: true, Reboot: true, Reason: "slot b is on trial"}
	})
	n.text("/v1/config", "hostname: kitchen\n")
	n.mux.HandleFunc("PUT /v1/config", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		switch {
		case err != nil || bytes.Contains(text, []byte("hostnme")):
			fail(w, &machine.Error{Status: 422, Message: `keelson.yaml:1:1: hostnme: unknown key; did you mean "hostname"?`})
		case bytes.Contains(text, []byte("kitchen")):
			reply(w, machine.ConfigChange{})
		default:
			n.reboots(func(s *machine.Status) { s.ConfigUndone = nil })
			if bytes.Contains(text, []byte("bad")) {
				n.set(func(s *machine.Status) {
					s.ConfigUndone = &machine.Undone{Time: s.Time.Add(1), Reason: "no network", Tail: []string{"eth0: no carrier"}}
				})
			}
			reply(w, machine.ConfigChange{Changed: true, Reboot: true})
		}
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	long := func() { n.set(func(s *machine.Status) { s.Uptime, s.Upgrade = 5000, nil }) }
	if out := mustKeelson(t, "reboot", "--wait"); !strings.Contains(out, "is back and healthy") {
		t.Errorf("reboot --wait = %q", out)
	}
	long()
	if out := mustKeelson(t, "rollback", "--wait"); out != n.address+": slot b is on trial; the node is back and healthy\n" {
		t.Errorf("rollback --wait = %q", out)
	}
	if out := mustKeelson(t, "config", "get"); out != "hostname: kitchen\n" {
		t.Errorf("config get = %q", out)
	}
	for name, text := range map[string]string{"same": "hostname: kitchen\n", "new": "hostname: attic\n", "wrong": "hostnme: x\n", "bad": "hostname: bad\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long()
	for name, want := range map[string]string{"same": "in force already", "new": "the new configuration is in force, and the node is healthy"} {
		long()
		if out := mustKeelson(t, "config", "apply", name, "--wait"); !strings.Contains(out, want) {
			t.Errorf("config apply %s = %q, want %q", name, out, want)
		}
	}
	long()
	refused(t, `did you mean "hostname"?`, "config", "apply", "wrong", "--wait")
	refused(t, "was undone: no network\nthe last lines of the failed boot:\n  eth0: no carrier", "config", "apply", "bad", "--wait")
	refused(t, "no such file", "config", "apply", "gone")
}

func TestWaitingEndsWithWhatWasAwaitedLast(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.post("/v1/reboot", func(*http.Request) any {
		n.reboots(func(s *machine.Status) { s.Health = machine.Health{Reason: "the datastore is slow"} })
		return struct{}{}
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	refused(t, "nothing was decided within 1.5s (last: not ready: the datastore is slow)", "reboot", "--wait", "--timeout", "1500ms")
}

func sizeOf(t *testing.T, file string) string {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(st.Size(), 10)
}

func TestMachineAPIPortOfARun(t *testing.T) {
	home, _ := newCluster(t, "home")
	o := runOptions{machinePort: 70000}
	if _, err := o.machineForward(true); err == nil {
		t.Error("--machine-port 70000 was taken")
	}
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() })
	o.machinePort = busy.Addr().(*net.TCPAddr).Port
	if f, err := o.machineForward(false); err != nil || f.Host != 0 || f.Guest != machine.Port {
		t.Errorf("forward of a default port in use = %+v, %v, want any free port", f, err)
	}
	if f, err := o.machineForward(true); err != nil || f.Host != o.machinePort {
		t.Errorf("forward of a port that was asked for = %+v, %v, want that one", f, err)
	}
	path, err := writeMachine("home.img.run", filepath.Join(home, "kubeconfig"), 7440)
	if err != nil {
		t.Fatal(err)
	}
	m, err := machineTarget(path)
	if err != nil || m.Nodes[0] != "127.0.0.1:7440" || m.CA != filepath.Join(home, machineCAFile) {
		t.Errorf("machine.json = %+v, %v", m, err)
	}
	if path, err := writeMachine("x.run", filepath.Join(t.TempDir(), "kubeconfig"), 1); err != nil || path != "" {
		t.Errorf("writeMachine without credentials = %q, %v, want nothing", path, err)
	}
}
