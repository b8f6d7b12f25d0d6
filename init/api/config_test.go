package api

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/control"
	"github.com/keelson-os/keelson/machine"
)

// secretsYAML is a cluster's secrets file, with keys of its own.
func secretsYAML(t *testing.T, machineCA config.KeyPair) string {
	t.Helper()
	var b strings.Builder
	indent := func(s string) string { return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") + "\n" }
	pairs := map[string]config.KeyPair{"machine-ca": machineCA}
	for _, name := range []string{"server-ca", "client-ca", "request-header-ca"} {
		pairs[name] = newAuthority(t, name).pair
	}
	for name, p := range pairs {
		b.WriteString(name + ":\n  cert: |\n" + indent(p.Cert) + "  key: |\n" + indent(p.Key))
	}
	b.WriteString("service-account-key: |\n" + indent(newAuthority(t, "x").pair.Key))
	b.WriteString("server-token: server-token-password\nagent-token: agent-token-password\n")
	return b.String()
}

const plainConfig = `# my node
hostname: kitchen
cluster:
  token: "server-token-password"   # kept
registries:
  configs:
    registry.example:
      auth: {username: bob, password: 'pass-of-bob'}
secrets: secrets.yaml
`

// writeConfig puts a configuration in force.
func writeConfig(t *testing.T, n *node, text string) {
	t.Helper()
	if text == "" {
		text = plainConfig
	}
	for name, data := range map[string]string{config.FileName: text, config.SecretsName: secretsYAML(t, n.ca.pair)} {
		if err := os.WriteFile(filepath.Join(n.Places.Config, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := config.Load(filepath.Join(n.Places.Config, config.FileName)); err != nil {
		t.Fatal(err)
	}
}

func TestTheConfigurationIsShownWithoutSecretsAndTakenBackWithThem(t *testing.T) {
	n := newNode(t, nil)
	writeConfig(t, n, "")
	c := n.dial(t, machine.RoleAdmin)
	shown, err := n.dial(t, machine.RoleReadOnly).Config(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"server-token-password", "pass-of-bob", "BEGIN"} {
		if strings.Contains(string(shown), secret) {
			t.Errorf("the configuration shows %q:\n%s", secret, shown)
		}
	}
	if !strings.Contains(string(shown), "# kept") || !strings.Contains(string(shown), "username: bob") {
		t.Errorf("the configuration shows more changed than its secrets:\n%s", shown)
	}
	if got, err := c.PutConfig(within(t, 10*time.Second), shown); err != nil || got.Changed {
		t.Errorf("PutConfig of what was shown = %+v, %v, want nothing changed", got, err)
	}
	changed := bytes.Replace(shown, []byte("hostname: kitchen"), []byte("hostname: cellar"), 1)
	got, err := c.PutConfig(within(t, 10*time.Second), changed)
	if err != nil || !got.Changed || !got.Reboot {
		t.Fatalf("PutConfig = %+v, %v, want changed and a reboot", got, err)
	}
	if a := n.asks(); len(a) != 1 || a[0].Op != control.OpReboot || !strings.Contains(a[0].By, "tester") {
		t.Errorf("PID 1 was asked %+v, want a reboot by tester", a)
	}
	next := filepath.Join(filepath.Dir(n.Places.Config), NextConfig)
	text, err := os.ReadFile(filepath.Join(next, config.FileName))
	want := strings.Replace(plainConfig, "kitchen", "cellar", 1)
	if err != nil || string(text) != want {
		t.Errorf("next configuration = %v\n%s\nwant\n%s", err, text, want)
	}
	loaded, err := config.Load(filepath.Join(next, config.FileName))
	if err != nil || loaded.Hostname != "cellar" || loaded.Secrets.MachineCA.Key == "" {
		t.Errorf("the next configuration with its secrets: %v", err)
	}
	for _, name := range []string{config.FileName, config.SecretsName} {
		if info, err := os.Stat(filepath.Join(next, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s of the next configuration: %v, %v, want mode 600", name, info.Mode(), err)
		}
	}
	old, err := os.ReadFile(filepath.Join(n.Places.Config, config.FileName))
	if err != nil || string(old) != plainConfig {
		t.Errorf("the configuration in force was touched: %v\n%s", err, old)
	}
}

func TestAConfigurationWithMistakesIsRefusedWithTheValidatorsText(t *testing.T) {
	n := newNode(t, nil)
	writeConfig(t, n, "")
	c := n.dial(t, machine.RoleAdmin)
	for name, x := range map[string]struct{ text, want string }{
		"unknown key":         {"hostnam: x\nsecrets: secrets.yaml\n", `keelson.yaml:1`},
		"no YAML":             {"{", "keelson.yaml"},
		"empty":               {"", "empty"},
		"no secrets":          {"hostname: x\n", "secrets"},
		"a file outside":      {"secrets: ../../../etc/passwd\n", "etc/passwd"},
		"unknown placeholder": {"cluster: {token: SECRET-0123456789abcdef}\nsecrets: secrets.yaml\n", "SECRET-0123456789abcdef"},
	} {
		_, err := c.PutConfig(within(t, 10*time.Second), []byte(x.text))
		if !errors.Is(err, machine.ErrRefused) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: PutConfig = %v, want ErrRefused with %q", name, err, x.want)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(n.Places.Config), NextConfig)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused configuration waits for PID 1: %v", err)
	}
	if a := n.asks(); len(a) > 0 {
		t.Errorf("PID 1 was asked %v", a)
	}
}

func TestSecretsAreHiddenInEveryWayOfWritingThem(t *testing.T) {
	key := []byte("key")
	pem := newAuthority(t, "x").pair.Key
	block := "    " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n    ") + "\n"
	for name, text := range map[string]string{
		"plain":       "cluster:\n  token: abcdef\n",
		"twice":       "cluster: {token: abcdef}\nregistries: {configs: {a: {auth: {password: abcdef}}, b: {auth: {password: x}}}}\n",
		"quoted":      "cluster:\n  token: 'abc def'\n",
		"behind tabs": "cluster: { token:  \"abcdef\" ,disable: [x]}\n",
		"umlauts":     "# ä\ncluster: {node-name: ä, token: öäü-secret}\n",
		"block":       "secrets:\n  server-ca:\n   key: |\n" + block + "   cert: c\nhostname: x\n",
		"folded":      "cluster:\n  token: >-\n    abcdef\n    ghijkl\nhostname: x\n",
		"anchor":      "cluster:\n  token: &t abcdef\n",
		"CRLF":        "cluster:\r\n  token: abcdef\r\nhostname: x\r\n",
		"no end":      "cluster: {token: abcdef}",
	} {
		hidden, secrets, err := hide([]byte(text), key)
		if err != nil {
			t.Errorf("%s: hide = %v", name, err)
			continue
		}
		for _, secret := range []string{"abcdef", "ghijkl", "öäü", "abc def", strings.Split(pem, "\n")[1]} {
			if strings.Contains(string(hidden), secret) {
				t.Errorf("%s: hide leaves %q:\n%s", name, secret, hidden)
			}
		}
		if back, unknown := reveal(hidden, secrets); string(back) != text || unknown != "" {
			t.Errorf("%s: reveal(hide) = %q, %q, want %q", name, back, unknown, text)
		}
	}
	for name, text := range map[string]string{
		"escapes":                  `cluster: {token: "abc\u0064ef"}`,
		"what looks like the mark": "cluster: {token: SECRET-0123456789abcdef}",
		"several lines, quoted":    "cluster:\n  token: \"abc\n    def\"\n",
	} {
		if hidden, _, err := hide([]byte(text), key); !errors.Is(err, errUnhidden) {
			t.Errorf("%s: hide = %q, %v, want errUnhidden", name, hidden, err)
		}
	}
}

func FuzzHideLeavesNoSecretAndCanBeUndone(f *testing.F) {
	f.Add("cluster:\n  token: abcdef\n")
	f.Add("a: &x {password: >\n  y\n  z\n}\nsecrets: {key: |\n b\n}")
	f.Add("token: [a, b, {c: d}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		hidden, secrets, err := hide([]byte(text), []byte("key"))
		if err != nil {
			return
		}
		for _, n := range secretNodes(hidden) {
			if !isHidden(n.Value) {
				t.Errorf("hide(%q) = %q leaves %q", text, hidden, n.Value)
			}
		}
		if placeholder.MatchString(text) {
			return
		}
		if back, unknown := reveal(hidden, secrets); string(back) != text || unknown != "" {
			t.Errorf("reveal(hide(%q)) = %q, %q", text, back, unknown)
		}
	})
}
