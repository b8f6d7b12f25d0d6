package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/generate"
)

func TestContextsAreAddedUsedListedAndRemoved(t *testing.T) {
	home, _ := newCluster(t, "home")
	newCluster(t, "work")
	out := mustKeelson(t, "context", "add", "home", "--dir", home)
	if !strings.Contains(out, "current; nodes: 127.0.0.1 (") {
		t.Errorf("context add = %q, want the kubeconfig's host as its node", out)
	}
	mustKeelson(t, "context", "add", "work", "--node", "10.0.0.1,[fe80::1]:7000", "--embed")
	out = mustKeelson(t, "context", "list")
	for _, want := range []string{"*        home  127.0.0.1 ", "work  10.0.0.1,[fe80::1]:7000  (embedded)"} {
		if !strings.Contains(out, want) {
			t.Errorf("context list = %q, want %q", out, want)
		}
	}
	var list []listedContext
	if err := json.Unmarshal([]byte(mustKeelson(t, "context", "list", "-o", "json")), &list); err != nil || len(list) != 2 ||
		!list[0].Current || list[1].Current || !slices.Equal(list[1].Nodes, []string{"10.0.0.1", "[fe80::1]:7000"}) {
		t.Errorf("context list -o json = %+v, %v", list, err)
	}
	if st, err := os.Stat(os.Getenv(contextVariable)); err != nil || st.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("the context file, which may hold keys: %v, %v, want mode 0600", st.Mode(), err)
	}
	mustKeelson(t, "context", "use", "work")
	if err := os.RemoveAll("work"); err != nil { // what is embedded needs no folder
		t.Fatal(err)
	}
	f := nodeFlags{output: outputTable}
	if nodes, err := f.open(false); err != nil || len(nodes) != 2 || nodes[1].name != "[fe80::1]:7000" || nodes[0].Address() != "10.0.0.1:6440" {
		t.Errorf("nodes of the current context = %v, %v", nodes, err)
	}
	refused(t, `there is a context "home" already`, "context", "add", "home")
	refused(t, "client.crt", "context", "add", "none", "--dir", "gone")
	refused(t, "--node", "context", "add", "x", "--dir", home, "--node", "http://10.0.0.1")
	refused(t, `no context "gone"`, "context", "use", "gone")
	refused(t, "(home, work)", "status", "--context", "gone")
	mustKeelson(t, "context", "remove", "work")
	refused(t, `no context "work"`, "context", "remove", "work")
	refused(t, "no node is known", "status")
}

func TestFolderWithoutMachineCATakesThatOfSecrets(t *testing.T) {
	home, _ := newCluster(t, "home")
	if err := os.Remove(filepath.Join(home, machineCAFile)); err != nil {
		t.Fatal(err)
	}
	mustKeelson(t, "context", "add", "home")
	if err := os.Remove(filepath.Join(home, clusterSecrets)); err != nil {
		t.Fatal(err)
	}
	refused(t, "machine-ca.crt is missing", "context", "add", "again", "--dir", home)
}

func TestBrokenContextFilesAreSaid(t *testing.T) {
	newCluster(t, "home")
	for _, text := range []string{"contexts: {a: }", "contexs: {}", "contexts: [", "current: gone\n"} {
		if err := os.WriteFile(os.Getenv(contextVariable), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, "contexts.yaml", "status")
	}
}

func TestWhoseNodesAreMeant(t *testing.T) {
	home, _ := newCluster(t, "home")
	newest := func(image, address string, age time.Duration) {
		t.Helper()
		dir := machineDir(image)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := writeMachine(dir, filepath.Join(home, "kubeconfig"), 0); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, machineJSONFile)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), "127.0.0.1:0", address, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	first := func(f nodeFlags) string {
		t.Helper()
		f.output = outputTable
		nodes, err := f.open(false)
		if err != nil {
			return err.Error()
		}
		return nodes[0].Address() + " of " + nodes[0].target.what
	}
	check := func(f nodeFlags, want string) {
		t.Helper()
		if got := first(f); got != want {
			t.Errorf("nodes of %+v = %s, want %s", f, got, want)
		}
	}
	check(nodeFlags{}, errNoTarget.Error())
	check(nodeFlags{nodes: []string{"10.0.0.5"}}, "10.0.0.5:6440 of folder home")
	newest("old.img", "127.0.0.1:7001", time.Hour)
	newest("new.img", "127.0.0.1:7002", 0)
	check(nodeFlags{}, "127.0.0.1:7002 of machine of new.img")
	check(nodeFlags{context: "old.img"}, "127.0.0.1:7001 of machine of old.img")
	check(nodeFlags{nodes: []string{"127.0.0.1"}}, "127.0.0.1:7002 of machine of new.img")
	check(nodeFlags{nodes: []string{"10.0.0.5:99"}}, "10.0.0.5:99 of folder home")
	newCluster(t, "second")
	check(nodeFlags{nodes: []string{"10.0.0.5"}}, "10.0.0.5:6440 of machine of new.img")
	mustKeelson(t, "context", "add", "home", "--node", "kitchen:7003")
	check(nodeFlags{}, `kitchen:7003 of context "home"`)
	check(nodeFlags{nodes: []string{"kitchen"}}, `kitchen:7003 of context "home"`)
	check(nodeFlags{nodes: []string{"kitchen:1"}}, `kitchen:1 of context "home"`)
	check(nodeFlags{nodes: []string{"a b"}}, `-n: found "a b", expected a host name or an IP address, with or without a port`)
}

func TestConfigClientMakesAFolderForAContext(t *testing.T) {
	home, s := newCluster(t, "home")
	n := newFakeNode(t, s, "kitchen")
	n.post("/v1/reboot", func(*http.Request) any { return struct{}{} })
	out := mustKeelson(t, "config", "client", "anna", "--dir", home, "--days", "3")
	if !strings.Contains(out, "read-only, until "+time.Now().AddDate(0, 0, 3).Format(time.DateOnly)) {
		t.Errorf("config client = %q", out)
	}
	mustKeelson(t, "context", "add", "anna", "--node", n.address)
	mustKeelson(t, "status")
	refused(t, `the certificate has "read-only"; use an administrator's certificate`, "reboot")
	mustKeelson(t, "config", "client", "boss", "--dir", home, "--role", "admin", "--out", "b")
	mustKeelson(t, "context", "add", "boss", "--dir", "b", "--node", n.address)
	mustKeelson(t, "reboot", "--context", "boss")
	refused(t, "--role", "config", "client", "x", "--dir", home, "--role", "root")
	refused(t, "choose another folder", "config", "client", "anna", "--dir", home)
	refused(t, `"keelson config new NAME" makes`, "config", "client", "x", "--dir", "gone")
}

func TestExpiredAndForeignCertificatesAreSaidBeforeAnyNodeIsAsked(t *testing.T) {
	home, s := newCluster(t, "home")
	newCluster(t, "other")
	if _, err := generate.MachineClient("old", s, "old", "admin", time.Hour, time.Now().AddDate(0, 0, -2)); err != nil {
		t.Fatal(err)
	}
	refused(t, `the client certificate "old" expired on `+time.Now().AddDate(0, 0, -2).Format("2006-"), "context", "add", "old", "--node", "127.0.0.1:1")
	mustKeelson(t, "context", "add", "mixed", "--dir", home, "--node", "127.0.0.1:1")
	text, err := os.ReadFile(filepath.Join("other", machineCAFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, machineCAFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "is of another cluster", "status")
	text, err = os.ReadFile(filepath.Join("old", clientCertFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, clientCertFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "private key does not match", "status")
}
