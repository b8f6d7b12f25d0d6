package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keelson-os/keelson/machine"
)

func TestStatusOfOneNode(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	n.set(func(s *machine.Status) {
		s.Upgrade = &machine.Attempt{ID: "1", From: machine.System{Slot: "a", Version: "0.1.0"}, To: machine.System{Slot: "b", Version: "0.2.0"},
			State: machine.AttemptRolledBack, Reason: "the node never got ready", Tail: []string{"last\x1b[2J words"}}
		s.Problems = []string{"disk: worn"}
	})
	out := mustKeelson(t, "status")
	for _, want := range []string{"kitchen", "0.1.0 (serial 5), board pc, amd64", "a (uefi)", "ok", "1h23m", "1024 MiB of 2048 MiB used (50 %)",
		"0.1.0 (slot a) to 0.2.0 (slot b): rolled-back", "the node never got ready", "last\ufffd[2J words", "disk: worn", "  state", "0.744s  ok (/dev/vda5)"} {
		if !strings.Contains(out, want) {
			t.Errorf("status has no %q:\n%s", want, out)
		}
	}
	var got machine.Status
	if err := json.Unmarshal([]byte(mustKeelson(t, "status", "-o", "json")), &got); err != nil || got.Node != "kitchen" || got.Upgrade.Reason != "the node never got ready" {
		t.Errorf("status -o json: %+v, %v, want the node's own answer", got, err)
	}
	var tree map[string]any
	text := mustKeelson(t, "status", "-o", "yaml")
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil || tree["node"] != "kitchen" || tree["serial"] != 5 {
		t.Errorf("status -o yaml: %v, %v", tree, err)
	}
	if !strings.HasPrefix(text, "api: 1\nnode: kitchen\n") {
		t.Errorf("status -o yaml does not keep the fields' order:\n%.100s", text)
	}
	refused(t, "expected table, json or yaml", "status", "-o", "xml")
}

func TestOneNodeThatFailsDoesNotHideTheOthers(t *testing.T) {
	_, s := newCluster(t, "home")
	a, b, gone := newFakeNode(t, s, "kitchen"), newFakeNode(t, s, "attic"), closedPort(t)
	mustKeelson(t, "context", "add", "home", "--node", a.address+","+gone, "--node", b.address)
	out, errs, err := keelson(t, "status")
	var shown *shownError
	if !errors.As(err, &shown) || !strings.Contains(err.Error(), "1 of 3 nodes failed") {
		t.Errorf("status = %v, want an error that was shown", err)
	}
	if lines := strings.Split(out, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "NODE ") || !strings.HasPrefix(lines[1], a.address) || !strings.HasPrefix(lines[2], b.address) {
		t.Errorf("status =\n%s want a line of each node that answers", out)
	}
	if want := "keelson: " + gone + ": "; !strings.HasPrefix(errs, want) || strings.Count(errs, "\n") != 1 {
		t.Errorf("status says %q, want one line that begins with %q", errs, want)
	}
	out, _, err = keelson(t, "status", "-o", "json")
	var byNode map[string]machine.Status
	if json.Unmarshal([]byte(out), &byNode) != nil || err == nil || len(byNode) != 2 || byNode[b.address].Node != "attic" {
		t.Errorf("status -o json = %s, %v, want the two that answer by their names", out, err)
	}
	out, _, err = keelson(t, "version")
	if err == nil || !strings.HasPrefix(out, "keelson ") || strings.Count(out, "v1.37.2") != 2 {
		t.Errorf("version = %q, %v, want this program's and two nodes'", out, err)
	}
}

func TestChangesOfSeveralNodesWantThemNamed(t *testing.T) {
	_, s := newCluster(t, "home")
	a, b := newFakeNode(t, s, "kitchen"), newFakeNode(t, s, "attic")
	for _, n := range []*fakeNode{a, b} {
		n.post("/v1/reboot", func(*http.Request) any { return struct{}{} })
		n.post("/v1/services/{name}/restart", func(r *http.Request) any {
			if r.PathValue("name") == "node" {
				return struct{}{}
			}
			return &machine.Error{Status: 404, Message: "there is no service"}
		})
	}
	mustKeelson(t, "context", "add", "home", "--node", a.address+","+b.address)
	refused(t, "-n "+a.address+","+b.address, "reboot")
	refused(t, "expected one", "reset", "--state", "-n", a.address+","+b.address)
	refused(t, "say which with -n", "kubeconfig")
	if a.was("POST") || b.was("POST") {
		t.Error("a node was changed that nobody named")
	}
	if out := mustKeelson(t, "reboot", "-n", b.address, "-n", b.address); out != b.address+": reboots\n" || a.was("POST") || !b.was("POST /v1/reboot") {
		t.Errorf("reboot = %q, want one node's", out)
	}
	mustKeelson(t, "restart", "node", "-n", a.address)
	refused(t, "there is no service", "restart", "x", "-n", a.address)
}

func TestWhatAnswersIsNoNodeOfThisCluster(t *testing.T) {
	_, s := newCluster(t, "home")
	_, foreign := newCluster(t, "other")
	other := newFakeNode(t, foreign, "stranger")
	node := newFakeNode(t, s, "kitchen")
	node.mux.HandleFunc("GET /v1/time", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, &machine.Error{Status: 401, Message: "the client certificate expired"})
	})
	var webs []string // without and with HTTP/2
	for _, two := range []bool{false, true} {
		web := httptest.NewUnstartedServer(http.NotFoundHandler())
		web.EnableHTTP2, web.Config.ErrorLog = two, log.New(io.Discard, "", 0)
		web.StartTLS()
		t.Cleanup(web.Close)
		webs = append(webs, web.Listener.Addr().String())
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends every connection
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { silent.Close() })
	mustKeelson(t, "context", "add", "home", "--node", node.address)
	for _, tt := range []struct{ address, want string }{
		{other.address, `is not signed by the machine CA of the context "home"; check the address`},
		{webs[0], "is no machine API"},
		{webs[1], "is no machine API: its certificate is not made out to machine.keelson"},
		{plain.Listener.Addr().String(), "is no machine API"},
		{silent.Addr().String(), "try again"},
		{closedPort(t), "is it on"},
		{"gone.invalid", "check the name"},
	} {
		_, _, err := keelson(t, "status", "-n", tt.address)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), tt.address+": ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("status -n %s = %v, want one line with the address and %q", tt.address, err, tt.want)
		}
	}
	refused(t, "keelson config client NAME", "time")
}

func TestLogsOfSeveralNodesHaveTheirNames(t *testing.T) {
	_, s := newCluster(t, "home")
	a, b := newFakeNode(t, s, "kitchen"), newFakeNode(t, s, "attic")
	a.text("/v1/logs/node", "one\ntwo")
	b.text("/v1/logs/node", "three\x1b]0;\n")
	mustKeelson(t, "context", "add", "home", "--node", a.address+","+b.address)
	out := mustKeelson(t, "logs", "node", "--tail", "5")
	for _, want := range []string{a.address + "  one\n", a.address + "  two\n", b.address + "  three\ufffd]0;\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("logs = %q, want %q", out, want)
		}
	}
	if !a.was("GET /v1/logs/node?tail=5") {
		t.Errorf("asked %q, want tail=5", a.asked)
	}
	if out := mustKeelson(t, "logs", "node", "-n", a.address); out != "one\ntwo\n" {
		t.Errorf("logs of one node = %q", out)
	}
	mustKeelson(t, "logs", "node", "-n", a.address, "--tail", "0", "-f")
	if !a.was("GET /v1/logs/node?follow=true&tail=0") {
		t.Errorf("asked %q, want follow=true&tail=0", a.asked)
	}
}

func TestStreamsForPrograms(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.text("/v1/events", `{"id":1,"time":"2026-11-25T01:02:03Z","kind":"boot","text":"a <step>"}`+"\n\n"+`{"id":2,"kind":"node","text":"ready"}`+"\n")
	n.text("/v1/dmesg", `{"sequence":9,"since":1.5,"level":3,"lost":true,"text":"oops"}`+"\n")
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	if out := mustKeelson(t, "events"); !strings.Contains(out, "2026-11-25 01:02:03Z  boot      a <step>\n") {
		t.Errorf("events = %q", out)
	}
	out := mustKeelson(t, "events", "-o", "json")
	var e machine.Event
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &e) != nil || e.Text != "a <step>" {
		t.Errorf("events -o json = %q, want a line each", out)
	}
	if out := mustKeelson(t, "events", "-o", "yaml"); strings.Count(out, "---\n") != 2 {
		t.Errorf("events -o yaml = %q, want a document each", out)
	}
	if out := mustKeelson(t, "dmesg"); out != "(earlier messages are lost)\n[    1.500000] oops\n" {
		t.Errorf("dmesg = %q", out)
	}
}

func TestTablesOfWhatANodeHas(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	offset := machine.Seconds(0.0012)
	n.get("/v1/services", func() any {
		return []machine.Service{{Name: "node", PID: 71, Ready: true, Since: time.Now().Add(-time.Minute), Restarts: 2}, {Name: "x", LastExit: "exit status 1"}}
	})
	n.get("/v1/ps", func() any {
		return []machine.Process{{PID: 1, Name: "init", Command: "/init", Memory: 9 << 20, CPU: 61}, {PID: 2, Name: "kthreadd"}}
	})
	n.get("/v1/disks", func() any {
		return []machine.Disk{{Name: "vda", Size: 20e9, Booted: true, Partitions: []machine.Partition{{Name: "vda5", Label: "state", Size: 18e9, Space: &machine.Space{Path: "/var/lib/rancher", Used: 9e9, Size: 18e9}}}}}
	})
	n.get("/v1/network", func() any {
		return machine.Network{Hostname: "kitchen", Links: []machine.Link{{Name: "eth0", Up: true, State: "down", Addresses: []string{"10.0.0.10/24"}, SpeedMbit: 1000}},
			Routes: []machine.Route{{To: "default", Via: "10.0.0.1", Link: "eth0", Origin: "dhcp"}}, Nameservers: []string{"10.0.0.2"}}
	})
	n.get("/v1/time", func() any { return machine.Time{Now: time.Unix(1764100000, 0), Synchronised: true, Offset: &offset} })
	n.get("/v1/certificates", func() any {
		return []machine.Certificate{{Name: "machine/server", NotAfter: time.Now().Add(49 * time.Hour), Renewable: true}, {Name: "ca", CA: true, Problem: "expired"}}
	})
	n.post("/v1/certificates/renew", func(*http.Request) any { return machine.Renewal{Removed: []string{"server/x"}} })
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	for verb, want := range map[string][]string{
		"services":     {"node     71   yes    1m0s  2", "x        -    no     -     0         -       exit status 1"},
		"ps":           {"1m1s  9 MiB   -    /init", "[kthreadd]"},
		"disks":        {"vda ", "  vda5  18.0 GB  state  /var/lib/rancher  9.0 GB (50 %)", "booted"},
		"network":      {"eth0  down, no carrier  10.0.0.10/24", "1000 Mbit/s", "default   10.0.0.1  eth0", "name servers  10.0.0.2"},
		"time":         {"2025-11-25 19:46:40Z  yes           1.2ms", "NTP is off"},
		"certificates": {"2d1h", "by itself", "no (a CA)  expired"},
	} {
		out := mustKeelson(t, verb)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s has no %q:\n%s", verb, w, out)
			}
		}
		var v any
		if err := json.Unmarshal([]byte(mustKeelson(t, verb, "-o", "json")), &v); err != nil {
			t.Errorf("%s -o json: %v", verb, err)
		}
	}
	if out := mustKeelson(t, "certificates", "renew"); out != n.address+": 1 certificates are issued anew: server/x\n" {
		t.Errorf("certificates renew = %q", out)
	}
}

func TestKubeconfigAndSupportNeverWriteOverAFile(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.text("/v1/kubeconfig", "kind: Config\n")
	n.text("/v1/support", "a tar")
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	if out := mustKeelson(t, "kubeconfig"); out != "kind: Config\n" {
		t.Errorf("kubeconfig = %q", out)
	}
	for verb, want := range map[string]string{"kubeconfig": "kind: Config\n", "support": "a tar"} {
		mustKeelson(t, verb, "--out", verb)
		if text, err := os.ReadFile(verb); err != nil || string(text) != want {
			t.Errorf("%s --out wrote %q, %v", verb, text, err)
		}
		refused(t, "is there already", verb, "--out", verb)
	}
	out := mustKeelson(t, "support")
	name := strings.TrimSpace(strings.TrimPrefix(out, n.address+": "))
	if text, err := os.ReadFile(name); err != nil || string(text) != "a tar" || strings.Contains(name, ":") {
		t.Errorf("support = %q, and the file %q, %v", out, text, err)
	}
}

func TestResetWantsTheNodesName(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.post("/v1/reset", func(r *http.Request) any {
		var q machine.ResetRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || !q.State || q.All || q.Confirm != "kitchen" {
			return &machine.Error{Status: 400, Message: fmt.Sprint(q, err)}
		}
		return machine.Reset{Wipes: []string{"state partition /dev/vda5"}, Then: "reboot"}
	})
	mustKeelson(t, "context", "add", "home", "--node", n.address)
	refused(t, "one of --state and --all", "reset")
	refused(t, "one of --state and --all", "reset", "--state", "--all")
	refused(t, "--yes-really kitchen", "reset", "--state") // nobody to ask
	refused(t, `found the name "attic", expected "kitchen"`, "reset", "--state", "--yes-really", "attic")
	if n.was("POST") {
		t.Error("the node was wiped without its name")
	}
	if out := mustKeelson(t, "reset", "--state", "--yes-really", "kitchen"); !strings.Contains(out, "state partition /dev/vda5") || !strings.Contains(out, "then: reboot") {
		t.Errorf("reset = %q, want what it wipes", out)
	}
}

func TestCompletionKnowsNodesContextsAndServices(t *testing.T) {
	_, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.get("/v1/services", func() any { return []machine.Service{{Name: "node"}, {Name: "extra"}} })
	mustKeelson(t, "context", "add", "home", "--node", n.address+",10.9.9.9")
	mustKeelson(t, "context", "add", "hotel", "--dir", "home", "--node", closedPort(t))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"status", "-n", ""}, n.address + "\n10.9.9.9\n"},
		{[]string{"status", "-n", "x,10."}, "x,10.9.9.9\n"},
		{[]string{"status", "--context", "hot"}, "hotel\n"},
		{[]string{"context", "use", ""}, "home\nhotel\n"},
		{[]string{"restart", "-n", n.address, ""}, "node\nextra\n"},
		{[]string{"logs", "--context", "hotel", "n"}, "node\n"},
		{[]string{"status", "-o", ""}, "table\njson\nyaml\n"},
	} {
		out := mustKeelson(t, append([]string{"__complete"}, tt.args...)...)
		if !strings.HasPrefix(out, tt.want+":") && out != tt.want {
			t.Errorf("completion of %q = %q, want %q", tt.args, out, tt.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := mustKeelson(t, "completion", shell); !strings.Contains(out, "keelson") {
			t.Errorf("completion %s = %.80q", shell, out)
		}
	}
	if out := mustKeelson(t); !strings.Contains(out, "completion ") {
		t.Error("the help does not mention completion")
	}
}
