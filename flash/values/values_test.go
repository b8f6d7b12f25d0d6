package values

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// file is as "keelson config new" writes it, shortened.
const file = `# A server of the cluster "lab".

role: server
hostname: lab   # change me

# Without this section every Ethernet port asks DHCP for an address.
network:
  interfaces:
    - match: {name: eth0}          # the first
      addresses: [192.168.1.10/24]
      mtu: 1500

clock: {servers: [pool.ntp.org]} # NTP

# The keys of k3s's config.yaml.
cluster:
  # Names that the API's certificate is valid for.
  # tls-san: [kitchen-pi.lan]

# The certificate authorities and tokens, in a file beside this one.
secrets: secrets.yaml
`

func TestSetChangesNothingButItsLine(t *testing.T) {
	for _, tt := range []struct{ path, value, old, want string }{
		{"hostname", "pi-1", "hostname: lab   # change me", "hostname: pi-1   # change me"},
		{"hostname", `"1"`, "hostname: lab   # change me", `hostname: "1"   # change me`},
		{"network.interfaces[0].mtu", "9000", "mtu: 1500", "mtu: 9000"},
		{"network.interfaces[0].addresses", "[10.0.0.1/8, 10.0.0.2/8]", "[192.168.1.10/24]", "[10.0.0.1/8, 10.0.0.2/8]"},
		{"network.interfaces[0].addresses[0]", "10.0.0.1/8", "192.168.1.10/24", "10.0.0.1/8"},
		{"clock.servers", "[]", "clock: {servers: [pool.ntp.org]} # NTP", "clock: {servers: []} # NTP"},
		{"clock", "{servers: [a]}", "clock: {servers: [pool.ntp.org]} # NTP", "clock: {servers: [a]} # NTP"},
		{"cluster.node-ip", "10.0.0.1", "cluster:\n", "cluster:\n  node-ip: 10.0.0.1\n"},
		{"cluster.tls-san", "[a, b]", "cluster:\n", "cluster:\n  tls-san: [a, b]\n"},
		{"cluster.tls-san[0]", "a", "cluster:\n", "cluster:\n  tls-san: [a]\n"},
		{"network.nameservers", "[10.0.0.1]", "network:\n", "network:\n  nameservers: [10.0.0.1]\n"},
		{`registries.mirrors."docker.io".endpoint`, "[x]", "secrets: secrets.yaml\n", "secrets: secrets.yaml\nregistries: {mirrors: {docker.io: {endpoint: [x]}}}\n"},
		{"network.interfaces", "[]", file[strings.Index(file, "  interfaces:"):strings.Index(file, "\nclock")], "  interfaces: []\n"},
	} {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Set([]byte(file), p, tt.value)
		if err != nil {
			t.Errorf("Set(%s, %s) = %v", tt.path, tt.value, err)
			continue
		}
		if want := strings.Replace(file, tt.old, tt.want, 1); string(got) != want {
			t.Errorf("Set(%s, %s) =\n%s\nwant\n%s", tt.path, tt.value, got, want)
		}
	}
}

func TestSetKeepsCommentsAndOrderWhereTheTextCannotBeChanged(t *testing.T) {
	p, err := ParsePath("network.interfaces[1]")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Set([]byte(file), p, "{name: iot, vlan: {id: 20, parent: eth0}}")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, want := range []string{"# A server", "role:", "# change me", "# Without", "# the first", "iot", "# NTP", "# The keys", "secrets:"} {
		i := strings.Index(string(got)[at:], want)
		if i < 0 {
			t.Fatalf("%q is missing or out of order in\n%s", want, got)
		}
		at += i
	}
}

func TestSetOfAnEmptyFileAndOfAnEmptyValue(t *testing.T) {
	for _, tt := range []struct{ data, path, value, want string }{
		{"", "hostname", "a", "hostname: a\n"},
		{"# only a comment\n", "hostname", "a", "# only a comment\nhostname: a\n"},
		{"hostname:", "hostname", "a", "hostname: a"},
		{"hostname: # none\n", "hostname", "a", "hostname: a # none\n"},
		{"a: b", "hostname", "a", "a: b\nhostname: a\n"},
		{"a: b\r\n", "a", "c", "a: c\r\n"},
		{"a: 'x # y' # z\n", "a", "c", "a: c # z\n"},
		{"ü: {ö: b}\n", "ü.ö", "c", "ü: {ö: c}\n"},
	} {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Set([]byte(tt.data), p, tt.value); err != nil || string(got) != tt.want {
			t.Errorf("Set(%q, %s, %s) = %q, %v, want %q", tt.data, tt.path, tt.value, got, err, tt.want)
		}
	}
}

func TestSetStringIsATextWhateverItLooksLike(t *testing.T) {
	for _, s := range []string{"pi", "123", "true", "null", "1e3", "a: b", "#x", "[", "", "*a", "two\nlines"} {
		got, err := SetString([]byte("hostname: lab\n"), Path{{key: "hostname"}}, s)
		if err != nil {
			t.Errorf("SetString(%q) = %v", s, err)
			continue
		}
		var v struct{ Hostname any }
		if err := yaml.Unmarshal(got, &v); err != nil || v.Hostname != s {
			t.Errorf("SetString(%q) = %q, which is %#v, %v", s, got, v.Hostname, err)
		}
	}
}

func TestUnset(t *testing.T) {
	for _, tt := range []struct{ path, gone string }{
		{"hostname", "hostname: lab   # change me\n"},
		{"network.interfaces[0].mtu", "      mtu: 1500\n"},
		{"clock", "clock: {servers: [pool.ntp.org]} # NTP\n"},
		{"network", file[strings.Index(file, "network:"):strings.Index(file, "\nclock")]},
	} {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Unset([]byte(file), p); err != nil || string(got) != strings.Replace(file, tt.gone, "", 1) {
			t.Errorf("Unset(%s) =\n%s\n%v", tt.path, got, err)
		}
	}
	p, err := ParsePath("network.interfaces[0]")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Unset([]byte(file), p); err != nil || strings.Contains(string(got), "eth0") || !strings.Contains(string(got), "# The keys") {
		t.Errorf("Unset of an element =\n%s\n%v", got, err)
	}
	if _, err := Unset([]byte(file), Path{{key: "nobody"}}); err == nil {
		t.Error("Unset of a key that is not there = nil, want an error")
	}
}

func TestMistakesAreRefused(t *testing.T) {
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "[0]", "a[0]b", "a b", `"a`, `a"b`, "a[99999]"} {
		if p, err := ParsePath(s); err == nil {
			t.Errorf("ParsePath(%q) = %v, nil, want an error", s, p)
		}
	}
	if _, _, err := ParseAssignment("hostname"); err == nil {
		t.Error(`ParseAssignment("hostname") = nil, want an error`)
	}
	if p, v, err := ParseAssignment("cluster.kubelet-arg=[a=b]"); err != nil || p.String() != "cluster.kubelet-arg" || v != "[a=b]" {
		t.Errorf("ParseAssignment = %v, %q, %v", p, v, err)
	}
	for _, tt := range []struct{ data, path, value string }{
		{"a: b", "a.c", "d"}, {"a: b", "a[0]", "d"}, {"a: [b]", "a.c", "d"}, {"a: [b]", "a[2]", "d"}, {"", "a[1]", "d"},
		{"a: &x {b: c}\nd: *x\n", "d.b", "e"}, {"- a\n", "b", "c"}, {"a: [", "b", "c"}, {"a: b", "a", "["},
	} {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Set([]byte(tt.data), p, tt.value); err == nil {
			t.Errorf("Set(%q, %s, %s) = %q, nil, want an error", tt.data, tt.path, tt.value, got)
		}
	}
}

// Whatever the file, the result has the value, and everything else as before.
func FuzzSet(f *testing.F) {
	f.Add(file, "hostname", "pi")
	f.Add(file, "cluster.node-ip", "10.0.0.1")
	f.Add("a: {b: [c]}\n", "a.b[0]", "{d: e}")
	f.Add("a:\n- b\n", "a[1]", "c")
	f.Fuzz(func(t *testing.T, data, path, value string) {
		p, err := ParsePath(path)
		if err != nil {
			return
		}
		if again, err := ParsePath(p.String()); err != nil || again.String() != p.String() {
			t.Fatalf("ParsePath(%q) = %v, %v", p.String(), again, err)
		}
		got, err := Set([]byte(data), p, value)
		if err != nil {
			return
		}
		doc, err := parse(got)
		if err != nil {
			return // a file that the encoder itself cannot read again
		}
		if at, err := walk(doc.Content[0], p); err != nil || len(at.rest) > 0 && value != "" {
			t.Errorf("Set(%q, %q, %q) = %q, which has no such value: %v", data, path, value, got, err)
		}
		_, _ = Unset(got, p)
	})
}
