package api

import (
	"archive/tar"
	"compress/gzip"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/init/step"
	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/upgrade/record"
)

func TestStatusTellsWhatPID1TheRecordAndTheKernelKnow(t *testing.T) {
	n := newNode(t, nil)
	n.set(func(s *control.Status) {
		s.Steps = []step.Step{{Name: "network", Duration: 1500 * time.Millisecond, Error: "no cable"}}
		s.Node.Healthy, s.Node.Reason = false, "the Node is not Ready"
	})
	r := &record.Record{MinimumSerial: 9, Attempt: &record.Attempt{ID: "x", State: record.RolledBack, Reason: "kernel panic", To: record.System{Version: "2"}}}
	if err := r.Save(n.Places.Record); err != nil {
		t.Fatal(err)
	}
	st, err := n.dial(t, machine.RoleReadOnly).Status(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if st.Health.OK || st.Health.Node != machine.NodeUnhealthy || !strings.Contains(st.Health.Reason, "the Node is not Ready") {
		t.Errorf("Health = %+v", st.Health)
	}
	if st.Upgrade == nil || st.Upgrade.State != machine.AttemptRolledBack || st.Upgrade.Reason != "kernel panic" || st.MinimumSerial != 9 {
		t.Errorf("Upgrade = %+v, MinimumSerial = %d", st.Upgrade, st.MinimumSerial)
	}
	if len(st.Steps) != 1 || st.Steps[0].Duration != 1.5 || st.Steps[0].Error != "no cable" {
		t.Errorf("Steps = %+v", st.Steps)
	}
	if st.Version.Version != "1.2.3" || st.Board != "pc" || st.Slot != "a" || st.Next != "a" || st.Memory.Total == 0 || st.CPUs == 0 || st.Uptime <= 0 || st.Kernel == "" {
		t.Errorf("Status = %+v", st)
	}
}

func TestStatusIsGivenWithoutPID1(t *testing.T) {
	n := newNode(t, func(n *node) { n.Server.Control.Path = filepath.Join(n.dir, "x.sock") })
	n.Server.Control.Path = filepath.Join(n.dir, "nobody.sock")
	st, err := n.dial(t, machine.RoleReadOnly).Status(within(t, 10*time.Second))
	if err != nil || st.Health.OK || !slices.ContainsFunc(st.Problems, func(p string) bool { return strings.HasPrefix(p, "PID 1") }) {
		t.Errorf("Status = %+v, %v, want one with the problem that PID 1 does not answer", st, err)
	}
	if _, err := n.dial(t, machine.RoleReadOnly).Services(within(t, 10*time.Second)); !errors.Is(err, machine.ErrUnavailable) {
		t.Errorf("Services = %v, want ErrUnavailable", err)
	}
}

func TestTheListsCanBeRead(t *testing.T) {
	n := newNode(t, nil)
	c, ctx := n.dial(t, machine.RoleReadOnly), within(t, 20*time.Second)
	ps, err := c.Processes(ctx)
	if err != nil || !slices.ContainsFunc(ps, func(p machine.Process) bool { return p.PID == os.Getpid() && p.Memory > 0 && p.Threads > 0 }) {
		t.Errorf("Processes = %d, %v, want this one among them", len(ps), err)
	}
	net, err := c.Network(ctx)
	if err != nil || !slices.ContainsFunc(net.Links, func(l machine.Link) bool { return l.Name == "lo" && slices.Contains(l.Addresses, "127.0.0.1/8") }) {
		t.Errorf("Network = %+v, %v, want lo with 127.0.0.1/8", net, err)
	}
	if _, err := c.Disks(ctx); err != nil {
		t.Errorf("Disks = %v", err)
	}
	n.set(func(s *control.Status) { s.Clock = control.Clock{Trusted: true, Servers: []string{"ntp"}} })
	if got, err := c.Time(ctx); err != nil || !got.Trusted || len(got.Servers) != 1 || time.Since(got.Now).Abs() > time.Minute {
		t.Errorf("Time = %+v, %v", got, err)
	}
	services, err := c.Services(ctx)
	if err != nil || len(services) != 1 || services[0].Name != "node" {
		t.Errorf("Services = %+v, %v", services, err)
	}
}

func TestPowerAndRestartReachPID1WithWhoAsked(t *testing.T) {
	n := newNode(t, nil)
	c, ctx := n.dial(t, machine.RoleAdmin), within(t, 20*time.Second)
	for _, err := range []error{c.Reboot(ctx), c.PowerOff(ctx), c.Restart(ctx, "node")} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := c.Restart(ctx, "../x"); !errors.Is(err, machine.ErrNotFound) {
		t.Errorf("Restart of no service = %v, want ErrNotFound", err)
	}
	asked := n.asks()
	if len(asked) != 3 || asked[0].Op != control.OpReboot || asked[1].Op != control.OpPowerOff || asked[2].Service != "node" {
		t.Fatalf("PID 1 was asked %+v", asked)
	}
	for _, a := range asked {
		if !strings.Contains(a.By, `"tester" at 127.0.0.1`) {
			t.Errorf("%s by %q, want the certificate's name and the address", a.Op, a.By)
		}
	}
}

func TestResetWantsOneScopeAndTheNodesName(t *testing.T) {
	n := newNode(t, nil)
	c, ctx := n.dial(t, machine.RoleAdmin), within(t, 20*time.Second)
	host := n.Places.Roots.Hostname()
	for name, q := range map[string]machine.ResetRequest{
		"nothing": {Confirm: host}, "both": {State: true, All: true, Confirm: host},
		"no name": {State: true}, "another name": {All: true, Confirm: host + "x"},
	} {
		if _, err := c.Reset(ctx, q); err == nil {
			t.Errorf("%s: Reset = nil", name)
		}
	}
	if a := n.asks(); len(a) > 0 {
		t.Fatalf("PID 1 was asked %v", a)
	}
	if _, err := c.Reset(ctx, machine.ResetRequest{All: true, Confirm: host}); err != nil {
		t.Errorf("Reset = %v", err)
	}
	if a := n.asks(); len(a) != 1 || a[0].Op != control.OpReset || a[0].What != control.ResetAll {
		t.Errorf("PID 1 was asked %v, want to reset all", a)
	}
}

func TestTheKubeconfigNamesTheAddressThatWasDialled(t *testing.T) {
	n := newNode(t, nil)
	c := n.dial(t, machine.RoleAdmin)
	if _, err := c.Kubeconfig(within(t, 10*time.Second)); !errors.Is(err, machine.ErrUnavailable) {
		t.Errorf("Kubeconfig before there is one = %v, want ErrUnavailable", err)
	}
	text := "apiVersion: v1\nclusters:\n- name: default\n  cluster:\n    server: https://127.0.0.1:6443\n    certificate-authority-data: eA==\n"
	if err := os.WriteFile(n.Places.Kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(n.address, ":")
	pair := n.ca.client(t, nil, machine.RoleAdmin)
	named, err := machine.Dial(machine.Config{Address: "localhost:" + port, CA: []byte(n.ca.pair.Cert), Cert: []byte(pair.Cert), Key: []byte(pair.Key)})
	if err != nil {
		t.Fatal(err)
	}
	defer named.Close()
	got, err := named.Kubeconfig(within(t, 10*time.Second))
	want := strings.Replace(text, "127.0.0.1", "localhost", 1)
	if err != nil || string(got) != want {
		t.Errorf("Kubeconfig = %v\n%s\nwant\n%s", err, got, want)
	}
	if got, err := machine.Local(n.socket).Kubeconfig(within(t, 10*time.Second)); err != nil || string(got) != text {
		t.Errorf("Kubeconfig on the socket = %v\n%s\nwant it as it is", err, got)
	}
}

func TestAnAuthorityThatIsNoHostIsNotWrittenIntoAKubeconfig(t *testing.T) {
	for authority, want := range map[string]string{
		"10.0.0.5:6440": "10.0.0.5", "node.local": "node.local", "[2001:db8::1]:6440": "2001:db8::1", "[fe80::1%eth0]:1": "fe80::1", "a b": "", "x\ny": "",
		"a:b:c": "", "": "", "${1}": "", "-x": "", "host/": "",
	} {
		if got, ok := dialled(authority); ok != (want != "") || ok && got != want {
			t.Errorf("dialled(%q) = %q, %v, want %q", authority, got, ok, want)
		}
	}
}

func TestCertificatesAreListedAndRenewRemovesWhatTheNodeCanMake(t *testing.T) {
	n := newNode(t, nil)
	ca := newAuthority(t, "server CA")
	soon := n.ca.client(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * 24 * time.Hour) }, "x")
	tls, agent := filepath.Join(n.Places.Data, "server/tls"), filepath.Join(n.Places.Data, "agent")
	for path, text := range map[string]string{
		tls + "/server-ca.crt": ca.pair.Cert, tls + "/server-ca.key": ca.pair.Key,
		tls + "/client-admin.crt": soon.Cert, tls + "/client-admin.key": soon.Key,
		tls + "/kube-scheduler/kube-scheduler.crt": soon.Cert, tls + "/kube-scheduler/kube-scheduler.key": soon.Key,
		tls + "/service.key":     soon.Key,
		agent + "/server-ca.crt": ca.pair.Cert, agent + "/foreign.crt": soon.Cert, agent + "/broken.crt": "no certificate", agent + "/broken.key": "x",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, ctx := n.dial(t, machine.RoleAdmin), within(t, 20*time.Second)
	list, err := c.Certificates(ctx)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]machine.Certificate{}
	for _, x := range list {
		byName[x.Name] = x
	}
	for name, want := range map[string]bool{
		"machine/server": true, "machine/ca": false, "server/server-ca": false, "server/client-admin": true, "server/kube-scheduler/kube-scheduler": true,
		"agent/server-ca": false, "agent/foreign": false, "agent/broken": true,
	} {
		if x, ok := byName[name]; !ok || x.Renewable != want {
			t.Errorf("%s: listed %v, renewable %v, want %v", name, ok, x.Renewable, want)
		}
	}
	if p := byName["agent/foreign"].Problem; !strings.Contains(p, "expires in 9 days") {
		t.Errorf("problem of a certificate that nobody renews = %q", p)
	}
	if p := byName["agent/broken"].Problem; p == "" {
		t.Error("a broken file has no problem")
	}
	before := n.identity.current
	answer, err := c.RenewCertificates(ctx)
	want := []string{"agent/broken", "machine/server", "server/client-admin", "server/kube-scheduler/kube-scheduler"}
	if slices.Sort(answer.Removed); err != nil || !slices.Equal(answer.Removed, want) {
		t.Errorf("RenewCertificates = %q, %v, want %q", answer.Removed, err, want)
	}
	for path, want := range map[string]bool{
		tls + "/client-admin.crt": false, tls + "/client-admin.key": false, tls + "/server-ca.key": true, tls + "/server-ca.crt": true,
		tls + "/service.key": true, agent + "/foreign.crt": true, agent + "/server-ca.crt": true,
	} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
	if a := n.asks(); len(a) != 1 || a[0].Op != control.OpRestart || a[0].Service != "node" {
		t.Errorf("PID 1 was asked %v, want a restart of the node", a)
	}
	if now, err := n.identity.certificate(); err != nil || now == before {
		t.Errorf("the machine API's own certificate is the old one, %v", err)
	}
}

func TestTheServerCertificateIsRenewedInItsLastThird(t *testing.T) {
	ca := newAuthority(t, "machine CA")
	now := time.Now()
	id, err := newIdentity(ca.pair, "node", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first, err := id.certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		after time.Duration
		anew  bool
	}{{0, false}, {lifetime * 3 / 5, false}, {lifetime*2/3 + time.Hour, true}, {3 * lifetime, true}} {
		now = first.Leaf.NotAfter.Add(-lifetime + x.after)
		got, err := id.certificate()
		if err != nil {
			t.Fatal(err)
		}
		if anew := got != first; anew != x.anew {
			t.Errorf("%v after it was made: made anew = %v, want %v", x.after, anew, x.anew)
		}
		if now.After(got.Leaf.NotAfter) {
			t.Errorf("%v after it was made the certificate has expired", x.after)
		}
		first = got
	}
	// A board whose clock stands at 1970 has a certificate that is valid then.
	now = time.Unix(1000, 0)
	old, err := newIdentity(ca.pair, "node", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if c, err := old.certificate(); err != nil || now.Before(c.Leaf.NotBefore) || now.After(c.Leaf.NotAfter) {
		t.Errorf("at %v the certificate is not valid: %v", now, err)
	}
}

func TestASupportArchiveHasNoSecret(t *testing.T) {
	n := newNode(t, nil)
	writeConfig(t, n, "")
	secretKeyPEM := newAuthority(t, "x").pair
	line := strings.Split(secretKeyPEM.Key, "\n")[1]
	caLine := strings.Split(n.ca.pair.Key, "\n")[1]
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
	full := "K10" + strings.Repeat("ab", 32) + "::server:server-token-password"
	tls := filepath.Join(n.Places.Data, "server/tls")
	if err := os.MkdirAll(tls, 0o700); err != nil {
		t.Fatal(err)
	}
	planted := strings.Join([]string{
		"an ordinary line", "token is " + full, "server-token-password again", "Authorization: Bearer abcdefghijklmnop",
		"jwt " + jwt, "https://user:hunter2-hunter2@registry/", `{"password":"correct-horse"}`, "node got " + line,
		"key: " + base64.StdEncoding.EncodeToString([]byte(secretKeyPEM.Key)), "pull with pass-of-bob",
		secretKeyPEM.Key, `one line: ` + strings.ReplaceAll(secretKeyPEM.Key, "\n", `\n`), "and after it", n.ca.pair.Key, "the last line", "",
	}, "\n")
	for path, text := range map[string]string{
		filepath.Join(n.Places.Logs, "node.log"):          planted,
		filepath.Join(n.Places.Logs, "node.log.1"):        planted,
		filepath.Join(n.Places.Logs, "init.log"):          planted,
		filepath.Join(n.Places.Logs, "panic.log"):         "Kernel panic " + full,
		filepath.Join(n.Places.Pstore, "dmesg-ramoops-0"): "Kernel panic " + full,
		tls + "/client-admin.key":                         secretKeyPEM.Key,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.events.Add(control.EventNode, "says %s", full)
	r := &record.Record{Attempt: &record.Attempt{ID: "x", Tail: []string{"tail " + full}}}
	if err := r.Save(n.Places.Record); err != nil {
		t.Fatal(err)
	}
	body, err := n.dial(t, machine.RoleReadOnly).Support(within(t, 60*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	files := untar(t, body)
	for name, text := range files {
		for _, secret := range []string{
			"server-token-password", "agent-token-password", "abcdefghijklmnop", "c2lnbmF0dXJl", "hunter2", "correct-horse", "pass-of-bob", line, caLine,
			base64.StdEncoding.EncodeToString([]byte(secretKeyPEM.Key))[:60],
		} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the secret %q", name, secret)
			}
		}
	}
	for _, name := range []string{
		"status.json", "services.json", "ps.json", "network.json", "time.json", "certificates.json", "upgrades.json", "config.yaml", "events.jsonl",
		"proc/meminfo", "proc/self/mountinfo", "logs/node.log", "logs/node.log.1", "logs/init.log", "logs/panic.log", "pstore/dmesg-ramoops-0", "kubernetes/events.json.error",
	} {
		if files[name] == "" {
			t.Errorf("%s is missing or empty", name)
		}
	}
	for _, keep := range []string{"an ordinary line", "and after it", "the last line"} {
		if !strings.Contains(files["logs/node.log"], keep) {
			t.Errorf("logs/node.log lost %q:\n%s", keep, files["logs/node.log"])
		}
	}
	var st machine.Status
	if err := json.Unmarshal([]byte(files["status.json"]), &st); err != nil || st.Board != "pc" {
		t.Errorf("status.json: %v", err)
	}
}

// untar returns the files of an archive without their first folder.
func untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(data)
	}
}
