package network

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/init/network/dhcp"
)

// userOption wraps an option as the kernel does in RTM_NEWNDUSEROPT.
func userOption(index int, opt []byte) []byte {
	b := make([]byte, userOptHeader)
	b[0] = 10 // AF_INET6
	binary.NativeEndian.PutUint16(b[2:], uint16(len(opt)))
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	b[8] = 134
	return append(b, opt...)
}

func TestParseUserOption(t *testing.T) {
	ra := advertisement(60)
	index, o, err := parseUserOption(userOption(3, ra[48:48+40]))
	if want := []netip.Addr{netip.MustParseAddr("2001:db8:5::53"), netip.MustParseAddr("fe80::53")}; err != nil || index != 3 || !slices.Equal(o.servers, want) || o.lifetime != 60 {
		t.Errorf("RDNSS: got link %d, %+v, %v, want link 3, %v for 60 s", index, o, err, want)
	}
	_, o, err = parseUserOption(userOption(3, ra[88:]))
	if want := []string{"v6.example"}; err != nil || !slices.Equal(o.domains, want) {
		t.Errorf("DNSSL: got %+v, %v, want %v", o, err, want)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), userOption(3, []byte{25, 5, 0, 0, 0, 0, 0, 1}), userOption(3, []byte{25, 0, 0, 0, 0, 0, 0, 1})} {
		if _, _, err := parseUserOption(b); !errors.Is(err, errShort) {
			t.Errorf("parseUserOption(%x) = %v, want errShort", b, err)
		}
	}
}

func TestParseNamesLeavesOutWhatIsNoName(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"two", "\x01a\x01b\x00\x01c\x00\x00\x00", []string{"a.b", "c"}},
		{"newline", "\x0ex\nnameserver 1\x00\x01c\x00", []string{"c"}},
		{"dot in a label", "\x03a.b\x00\x01c\x00", []string{"c"}},
		{"cut short", "\x01a\x00\x05ab", []string{"a"}},
		{"compression pointer", "\x01a\x00\xc0\x00", []string{"a"}},
		{"no end", "\x01a", nil},
		{"twice", "\x01a\x00\x01A\x00", []string{"a"}},
	}
	for _, tt := range tests {
		if got := parseNames([]byte(tt.in)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: parseNames(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

func FuzzParseUserOption(f *testing.F) {
	ra := advertisement(60)
	f.Add(userOption(3, ra[48:88]))
	f.Add(userOption(3, ra[88:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, o, err := parseUserOption(b)
		if err != nil && (len(o.servers) > 0 || len(o.domains) > 0) {
			t.Errorf("parseUserOption(%x) = %+v with error %v", b, o, err)
		}
		for _, d := range o.domains {
			if !dhcp.ValidDomain(d) {
				t.Errorf("parseUserOption(%x): domain %q", b, d)
			}
		}
	})
}

func TestKeepIsBoundedAndForgets(t *testing.T) {
	var list []expiring[int]
	for i := range 2 * maxLearned {
		list = keep(list, expiring[int]{value: i}, false)
	}
	if len(list) != maxLearned {
		t.Errorf("%d kept, want %d", len(list), maxLearned)
	}
	until := time.Unix(5, 0)
	list = keep(list, expiring[int]{3, until}, false)
	if len(list) != maxLearned || list[3].until != until {
		t.Errorf("got %v, want value 3 to have a new time", list)
	}
	if list = keep(list, expiring[int]{value: 3}, true); len(list) != maxLearned-1 {
		t.Errorf("got %v, want value 3 gone", list)
	}
}

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

func TestResolvText(t *testing.T) {
	tests := []struct {
		name    string
		sources []dnsSource
		want    string
	}{
		{"nothing", nil, ""},
		{"in order, no duplicates", []dnsSource{{addrs("1.1.1.1"), []string{"a"}}, {addrs("1.1.1.1", "2.2.2.2"), []string{"b", "a"}}},
			"nameserver 1.1.1.1\nnameserver 2.2.2.2\nsearch a b\n"},
		{"three servers at most", []dnsSource{{addrs("1.1.1.1", "2.2.2.2"), nil}, {addrs("3.3.3.3", "4.4.4.4"), nil}},
			"nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n"},
		{"six domains at most", []dnsSource{{nil, []string{"a", "b", "c", "d", "e", "f", "g"}}}, "search a b c d e f\n"},
		{"256 bytes of domains at most", []dnsSource{{nil, []string{strings.Repeat("a", 200), strings.Repeat("b", 100), "c"}}},
			"search " + strings.Repeat("a", 200) + " c\n"},
	}
	for _, tt := range tests {
		_, got, _ := strings.Cut(resolvText(tt.sources), "\n")
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestResolvFileIsNotRewrittenUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keelson", "resolv.conf")
	m := &Manager{resolv: &resolvFile{path: path}, log: t.Logf, ports: map[int]*port{}}
	m.writeResolv()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	m.writeResolv()
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("an unchanged file was replaced")
	}
	m.cfg.Nameservers = addrs("9.9.9.9")
	m.writeResolv()
	if after, err = os.Stat(path); err != nil || os.SameFile(before, after) || after.Mode() != 0o644 {
		t.Errorf("changed: %v, %v, want a new file, mode 0644", after, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder holds %v, %v, want one file", entries, err)
	}
}

func TestHostname(t *testing.T) {
	a, b := DeriveHostname("0123456789abcdef0123456789abcdef"), DeriveHostname("0123456789abcdef0123456789abcdee")
	if a == b || len(a) != len("keelson-XXXXXX") || !dhcp.ValidDomain(a) || a != DeriveHostname("0123456789abcdef0123456789abcdef") {
		t.Errorf("DeriveHostname = %q and %q, want two different keelson-XXXXXX", a, b)
	}
	path := filepath.Join(t.TempDir(), "hosts")
	if err := WriteHosts(path, "kitchen-pi"); err != nil {
		t.Fatal(err)
	}
	if got := fileText(t, path); !strings.Contains(got, "\n127.0.1.1\tkitchen-pi\n") {
		t.Errorf("hosts = %q, want a line for kitchen-pi", got)
	}
}

func TestMatches(t *testing.T) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "enp3s0", HardwareAddr: []byte{2, 0, 0, 0, 0, 0xab}}}
	tests := []struct {
		match config.Match
		want  bool
	}{
		{config.Match{Name: "enp3s0"}, true},
		{config.Match{Name: "en*"}, true},
		{config.Match{Name: "enp?s0"}, true},
		{config.Match{Name: "eth*"}, false},
		{config.Match{MAC: "02:00:00:00:00:ab"}, true},
		{config.Match{MAC: "02:00:00:00:00:ac"}, false},
		{config.Match{Name: "en*", MAC: "02:00:00:00:00:ac"}, false},
		{config.Match{Driver: "e1000e"}, false},
		{config.Match{}, false},
	}
	for _, tt := range tests {
		if got := matches(tt.match, link); got != tt.want {
			t.Errorf("matches(%+v, enp3s0) = %v, want %v", tt.match, got, tt.want)
		}
	}
}
