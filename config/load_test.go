package config_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden from what the code says now")

// testSecrets makes the content of a good secrets file, once.
var testSecrets = sync.OnceValue(func() string {
	var b strings.Builder
	for _, ca := range []string{"server-ca", "client-ca", "request-header-ca", "machine-ca"} {
		pair, err := pki.NewCA("test "+ca, time.Now())
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s:\n  cert: |\n%s  key: |\n%s", ca, block(pair.Cert, 4), block(pair.Key, 4))
	}
	key, err := pki.NewKey()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(&b, "service-account-key: |\n%s", block(key, 2))
	b.WriteString("server-token: 00112233445566778899aabbccddeeff\nagent-token: ffeeddccbbaa99887766554433221100\n")
	return b.String()
})

func block(text string, indent int) string {
	pad := strings.Repeat(" ", indent)
	return pad + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+pad) + "\n"
}

// resolveTest knows two files: secrets.yaml, good, and bad-secrets.yaml from testdata.
func resolveTest(path string) ([]byte, error) {
	switch path {
	case "secrets.yaml":
		return []byte(testSecrets()), nil
	case "bad-secrets.yaml":
		return os.ReadFile("testdata/bad-secrets.yaml")
	}
	return nil, &fs.PathError{Op: "open", Path: "/somewhere/" + path, Err: fs.ErrNotExist}
}

// TestMistakesGetStableTexts compares every message of testdata/*.yaml with its .golden
// file. The inputs were written by hand, one group of mistakes each; the goldens are
// written by -update and then read by a human.
func TestMistakesGetStableTexts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob = %v, %v, want test files", files, err)
	}
	for _, file := range files {
		if filepath.Base(file) == "bad-secrets.yaml" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Parse(file, data, resolveTest)
			got := "valid\n"
			if err != nil {
				got = err.Error() + "\n"
				if cfg != nil {
					t.Errorf("Parse returned a configuration together with mistakes")
				}
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("Parse(%s) says:\n%s\nwant:\n%s", file, got, want)
			}
		})
	}
}

// TestMistakesAreTheSameOnLaptopAndNode parses a file from two folders.
func TestMistakesAreTheSameOnLaptopAndNode(t *testing.T) {
	const text = "hostname: My Pi\nnetwork:\n  interfaces:\n  - match: {name: eth0}\n    dchp: true\nsecrets: gone.yaml\n"
	var texts []string
	for range 2 {
		path := filepath.Join(t.TempDir(), config.FileName)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.Load(path)
		if err == nil {
			t.Fatalf("Load(%s) = nil, want mistakes", path)
		}
		texts = append(texts, err.Error())
	}
	if texts[0] != texts[1] {
		t.Errorf("texts differ:\n%s\n%s", texts[0], texts[1])
	}
}

// TestSecretsFileIsNotTakenForAConfiguration is "keelson config validate homelab/*.yaml".
func TestSecretsFileIsNotTakenForAConfiguration(t *testing.T) {
	_, err := config.Parse(config.SecretsName, []byte("# mine\nserver-ca: {}\nclient-ca: {}\n"), resolveTest)
	var list *config.Errors
	if !errors.As(err, &list) || len(list.List) != 1 || list.List[0].Line != 2 {
		t.Errorf("Parse = %v, want one mistake, in line 2", err)
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	cfg, err := config.Parse("server.yaml", []byte("secrets: secrets.yaml\n"), resolveTest)
	if err != nil {
		t.Fatal(err)
	}
	c := cfg.Cluster
	if cfg.Role != config.RoleServer || c.ClusterCIDR.String() != "10.42.0.0/16" || c.ServiceCIDR.String() != "10.43.0.0/16" ||
		c.ClusterDNS.String() != "10.43.0.10" || c.ClusterDomain != "cluster.local" || c.HTTPSListenPort != 6443 ||
		c.FlannelBackend != "vxlan" || c.KubeconfigMode != 0o600 || !slices.Equal(cfg.Clock.Servers, []string{"pool.ntp.org"}) {
		t.Errorf("Parse = %+v, want k3s's defaults", *cfg)
	}
	if c.Token != "00112233445566778899aabbccddeeff" {
		t.Errorf("cluster.token is not the secrets' one")
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	const text = `
role: server
hostname: kitchen-pi
network:
  nameservers: [9.9.9.9, "2620:fe::fe"]
  search: [home.example]
  interfaces:
  - match: {mac: 52:54:00:AB:CD:EF}
    addresses: [192.168.1.5/24, "2001:db8::5/64"]
    gateway: [192.168.1.1, "fe80::1"]
    nameservers: [192.168.1.1]
    routes: [{to: 10.9.0.0/16, via: 192.168.1.2, metric: 50}]
    mtu: 9000
    slaac: false
  - match: {name: "eth*", driver: e1000e}
  - {name: bond0, bond: {members: [eth1, eth2], mode: 802.3ad, miimon: 200}}
  - {name: lan20, vlan: {id: 20, parent: bond0}, dhcp: true}
clock: {servers: []}
cluster:
  token: abcdefghijklmnop
  node-name: kitchen.home
  node-label: [disk=ssd]
  node-label+: [example.com/rack=3]
  node-taint: dedicated=gpu:NoSchedule
  tls-san: [a.example, "10.0.0.1,B.example"]
  cluster-cidr: 10.52.0.0/16
  service-cidr: 10.53.0.0/16
  cluster-domain: home.local
  https-listen-port: 7443
  flannel-iface: eth0
  flannel-backend: host-gw
  write-kubeconfig-mode: "0644"
  node-ip: 192.168.1.5
  bind-address: [192.168.1.5]
  advertise-address: 192.168.1.9
  advertise-port: 443
  service-node-port-range: 20000-22767
  default-local-storage-path: /var/lib/rancher/volumes
  resolv-conf: /etc/rancher/k3s/resolv.conf
  disable: traefik,servicelb
  disable+: [coredns, traefik]
  disable-helm-controller: true
  disable-network-policy: true
  disable-default-registry-endpoint: true
  kubelet-arg: [v=2]
  kube-apiserver-arg: [v=3]
  kube-controller-manager-arg: [v=4]
  kube-scheduler-arg: [v=5]
  kube-proxy-arg: [v=6]
secrets: secrets.yaml
`
	cfg, err := config.Parse("server.yaml", []byte(text), resolveTest)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.Cluster.Disabled("coredns") || cfg.Cluster.Disabled("local-storage") {
		t.Errorf("Disabled says otherwise than %v", cfg.Cluster.Disable)
	}
	cfg.Secrets = nil
	const want = `{Role:server Hostname:kitchen-pi Network:{Interfaces:[` +
		`{Name: Match:{Name: MAC:52:54:00:ab:cd:ef Driver:} DHCP:false SLAAC:false Addresses:[192.168.1.5/24 2001:db8::5/64] Gateways:[192.168.1.1 fe80::1] Nameservers:[192.168.1.1] Routes:[{To:10.9.0.0/16 Via:192.168.1.2 Metric:50}] MTU:9000 VLAN:<nil> Bond:<nil>} ` +
		`{Name: Match:{Name:eth* MAC: Driver:e1000e} DHCP:true SLAAC:true Addresses:[] Gateways:[] Nameservers:[] Routes:[] MTU:0 VLAN:<nil> Bond:<nil>} `
	got := fmt.Sprintf("%+v", *cfg)
	if !strings.HasPrefix(got, want) {
		t.Errorf("Parse = %s\nwant prefix %s", got, want)
	}
	ifs := cfg.Network.Interfaces
	if b := ifs[2].Bond; b == nil || b.Mode != "802.3ad" || b.MIIMon != 200 || !slices.Equal(b.Members, []string{"eth1", "eth2"}) {
		t.Errorf("bond = %+v", b)
	}
	if v := ifs[3].VLAN; v == nil || *v != (config.VLAN{ID: 20, Parent: "bond0"}) || ifs[3].Name != "lan20" {
		t.Errorf("vlan = %+v", v)
	}
	const wantCluster = `{Server: Token:abcdefghijklmnop NodeName:kitchen.home NodeLabels:[disk=ssd example.com/rack=3] NodeTaints:[dedicated=gpu:NoSchedule] ` +
		`TLSSANs:[a.example 10.0.0.1 B.example] ClusterCIDR:10.52.0.0/16 ServiceCIDR:10.53.0.0/16 ClusterDNS:10.53.0.10 ClusterDomain:home.local HTTPSListenPort:7443 ` +
		`NodeIP:192.168.1.5 BindAddress:192.168.1.5 AdvertiseAddress:192.168.1.9 AdvertisePort:443 NodePorts:20000-22767 ` +
		`LocalStoragePath:/var/lib/rancher/volumes ResolvConf:/etc/rancher/k3s/resolv.conf ` +
		`FlannelIface:eth0 FlannelBackend:host-gw KubeconfigMode:420 NoDefaultEndpoint:true Disable:[coredns helm-controller servicelb traefik] KubeletArgs:[v=2] APIServerArgs:[v=3] ControllerMgrArgs:[v=4] SchedulerArgs:[v=5] ProxyArgs:[v=6]}`
	if got := fmt.Sprintf("%+v", cfg.Cluster); got != wantCluster {
		t.Errorf("cluster = %s\nwant      %s", got, wantCluster)
	}
	if cfg.Clock.Servers == nil || len(cfg.Clock.Servers) != 0 {
		t.Errorf("clock.servers = %#v, want an empty list (NTP off)", cfg.Clock.Servers)
	}
}

func TestSecretsNeverAppearInMistakes(t *testing.T) {
	good := testSecrets()
	lines := strings.Split(good, "\n")
	secret := map[string]bool{}
	for _, l := range lines {
		if l = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(l, "server-token:"), "agent-token:")); len(l) > 15 && !strings.HasPrefix(l, "---") && !strings.Contains(l, ":") {
			secret[l] = true
		}
	}
	for n := range lines {
		for name, broken := range map[string]string{
			"unindented": strings.TrimSpace(lines[n]),
			"with colon": strings.TrimSpace(lines[n]) + ": x",
			"tab":        "\t" + lines[n],
			"gone":       "",
			"alias":      "*" + strings.TrimSpace(lines[n]),
		} {
			changed := slices.Clone(lines)
			changed[n] = broken
			_, err := config.Parse("server.yaml", []byte("secrets: secrets.yaml\n"), func(string) ([]byte, error) {
				return []byte(strings.Join(changed, "\n")), nil
			})
			if err == nil {
				continue
			}
			for s := range maps.Keys(secret) {
				if strings.Contains(err.Error(), s) {
					t.Errorf("line %d %s: the mistake shows a secret: %v", n+1, name, err)
				}
			}
		}
	}
}

func TestFilesReturnsWhatToEmbed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("secrets.yaml", testSecrets())
	write("other secrets.yaml", testSecrets())
	inline := "secrets:\n" + block(testSecrets(), 2)
	for _, c := range []struct{ name, text, want string }{
		{"plain", "# mine\nsecrets: secrets.yaml # here\n", "# mine\nsecrets: secrets.yaml # here\n"},
		{"dot", "secrets: ./secrets.yaml\nhostname: a\n", "secrets: secrets.yaml\nhostname: a\n"},
		{"absolute", "secrets: " + dir + "/secrets.yaml\n", "secrets: secrets.yaml\n"},
		{"quoted", "{hostname: é, secrets: \"other secrets.yaml\"}", ""},
		{"single quoted", "hostname: a\r\nsecrets: 'other secrets.yaml'\r\n", "hostname: a\r\nsecrets: secrets.yaml\r\n"},
		{"flow", "{hostname: a, secrets: \"other secrets.yaml\"}", "{hostname: a, secrets: secrets.yaml}"},
		{"inline", inline, inline},
	} {
		yaml, secrets, err := config.Files(write("server.yaml", c.text))
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: Files = nil, want a mistake", c.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: Files: %v", c.name, err)
			continue
		}
		if string(yaml) != c.want {
			t.Errorf("%s: Files = %q, want %q", c.name, yaml, c.want)
		}
		if want := c.name != "inline"; (secrets != nil) != want || (want && string(secrets) != testSecrets()) {
			t.Errorf("%s: the secrets are not the file's bytes", c.name)
		}
	}
}

func TestAgentIsValidButCannotBeRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.yaml")
	text := "role: agent\ncluster: {server: \"https://10.0.0.10:6443\", token: abcdefghijklmnop}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Validate(path); err != nil {
		t.Errorf("Validate: %v, want nil", err)
	}
	var list *config.Errors
	if _, err := config.Load(path); !errors.As(err, &list) || len(list.List) != 1 {
		t.Errorf("Load = %v, want one mistake", err)
	}
	if _, _, err := config.Files(path); !errors.As(err, &list) {
		t.Errorf("Files = %v, want a mistake", err)
	}
}

// FuzzParse checks that no input makes the parser panic, that mistakes come with the
// file's name, and that they are the same each time.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := config.Parse("f.yaml", data, resolveTest)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v, want one of the two", cfg, err)
		}
		if err == nil {
			return
		}
		var list *config.Errors
		if !errors.As(err, &list) || len(list.List) == 0 {
			t.Fatalf("Parse = %v, want *Errors", err)
		}
		for _, e := range list.List {
			if e.Msg == "" || strings.Contains(e.Error(), "\n") {
				t.Errorf("mistake %q, want one line", e.Error())
			}
		}
		if _, again := config.Parse("f.yaml", data, resolveTest); again.Error() != err.Error() {
			t.Errorf("two runs differ:\n%v\n%v", err, again)
		}
	})
}

// FuzzSecrets does the same for the secrets file.
func FuzzSecrets(f *testing.F) {
	f.Add([]byte(testSecrets()))
	f.Add([]byte("server-ca: {cert: x, key: y}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := config.Parse("f.yaml", []byte("secrets: secrets.yaml"), func(string) ([]byte, error) { return data, nil })
		if (cfg == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v, want one of the two", cfg, err)
		}
	})
}

func TestRegistriesAreRead(t *testing.T) {
	const text = `
registries:
  mirrors:
    docker.io:
      endpoint: [https://registry.example.com:5000, "mirror.example/v2/hub"]
      rewrite: {"^library/(.*)": "hub/$1", "(?P<all>.*)": "x/${all}$$"}
    "*": {endpoint: http://192.168.1.2:5000}
  configs:
    registry.example.com:5000:
      auth: {username: me, password: "hunter2"}
      tls: {ca_file: ca.crt, cert_file: /var/lib/rancher/c.crt, key_file: /var/lib/rancher/c.key}
    quay.io: {auth: {auth: bWU6aHVudGVyMg==}}
    ghcr.io: {auth: {identity_token: hunter2}}
    docker.io:
secrets: secrets.yaml
`
	cfg, err := config.Parse("server.yaml", []byte(text), resolveTest)
	if err != nil {
		t.Fatal(err)
	}
	r := cfg.Registries
	hub := r.Mirrors["docker.io"]
	if len(hub.Endpoints) != 2 || len(hub.Rewrites) != 2 || hub.Rewrites[0].Replace != "hub/$1" || r.Mirrors["*"].Endpoints[0] != "http://192.168.1.2:5000" {
		t.Errorf("mirrors = %+v", r.Mirrors)
	}
	own := r.Configs["registry.example.com:5000"]
	if *own.Auth != (config.RegistryAuth{Username: "me", Password: "hunter2"}) || own.TLS.CAFile != "/etc/rancher/k3s/ca.crt" || own.TLS.KeyFile != "/var/lib/rancher/c.key" {
		t.Errorf("configs = %+v", own)
	}
	if a := r.Configs["quay.io"].Auth; *a != (config.RegistryAuth{Username: "me", Password: "hunter2"}) {
		t.Errorf("base64 credentials were not read")
	}
	if a := r.Configs["ghcr.io"].Auth; a.IdentityToken != "hunter2" {
		t.Errorf("the token was not read")
	}
	if _, ok := r.Configs["docker.io"]; !ok {
		t.Errorf("an empty entry was lost; it keeps docker.io out of \"*\"")
	}
	if text := fmt.Sprintf("%v %+v %#v", *cfg, *own.Auth, own); strings.Contains(text, "hunter2") {
		t.Errorf("a password is printed: %s", text)
	}
}

// TestRegistryPasswordsNeverAppearInMistakes breaks a section in many ways; every value
// that is a secret is "hunter2".
func TestRegistryPasswordsNeverAppearInMistakes(t *testing.T) {
	for _, text := range []string{
		"configs: {a.example: {auth: {username: me, password: *hunter2}}}",
		"configs: {a.example: {auth: {username: me, password: &hunter2 x}}}",
		"configs: {a.example: {auth: {username: me, password: !hunter2 x}}}",
		"configs: {a.example: {auth: {username: me, password: [hunter2]}}}",
		"configs: {a.example: {auth: {username: me, hunter2: password}}}",
		"configs: {a.example: {auth: {username: me, Hunter2x: password}}}",
		"configs: {a.example: {auth: hunter2}}",
		"configs: {a.example: {auth: {auth: hunter2}}}",
		"configs: {a.example: {auth: {identity_token: {hunter2: x}}}}",
		"configs: {a.example: {tls: {key: hunter2}}}",
		"mirrors: {a.example: {endpoint: [\"https://me:hunter2@b.example\"]}}",
		"mirrors: {a.example: {endpoint: [\"https://me:hunter2%zz@b.example\"]}}",
		"mirrors: {a.example: {endpoint: [\"me:hunter2@b.example\"]}}",
		"mirrors: {\"https://me:hunter2@b.example\": {endpoint: [c.example]}}",
		"configs: {a.example: {auth: {username: me, password: \"hunter2}}}",
		"configs:\n  a.example:\n    auth:\n      password: hunter2\n     username: x\n",
	} {
		_, err := config.ParseRegistries("registries.yaml", []byte(text))
		if err == nil {
			t.Errorf("ParseRegistries(%s) = nil, want a mistake", text)
		} else if strings.Contains(strings.ToLower(err.Error()), "hunter2") {
			t.Errorf("the mistake shows a secret: %v", err)
		}
	}
}

// FuzzRegistries is FuzzParse for a registries.yaml.
func FuzzRegistries(f *testing.F) {
	f.Add([]byte("mirrors: {docker.io: {endpoint: [https://a.example], rewrite: {\"^a/(.*)\": \"b/$1\"}}}\nconfigs: {a.example: {auth: {username: a, password: b}}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := config.ParseRegistries("r.yaml", data)
		if (r == nil) == (err == nil) {
			t.Fatalf("ParseRegistries = %v, %v, want one of the two", r, err)
		}
		if err != nil {
			if _, again := config.ParseRegistries("r.yaml", data); again.Error() != err.Error() {
				t.Errorf("two runs differ:\n%v\n%v", err, again)
			}
		}
	})
}
