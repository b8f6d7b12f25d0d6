package module

import (
	"path"
	"reflect"
	"strings"
	"testing"
)

func TestParseDepOrdersDependenciesForLoading(t *testing.T) {
	deps := parseDep([]byte("kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko\n" +
		"kernel/fs/mbcache.ko:\n\n# comment\n../../etc/evil.ko: \n/abs/evil.ko:\nno-module.txt: a\nkernel/drivers/usb-storage.ko.zst: \n"))
	want := map[string]entry{
		"ext4":        {"kernel/fs/ext4/ext4.ko.xz", []string{"mbcache", "crc16", "jbd2"}},
		"mbcache":     {"kernel/fs/mbcache.ko", nil},
		"usb_storage": {"kernel/drivers/usb-storage.ko.zst", nil},
	}
	if !reflect.DeepEqual(deps, want) {
		t.Errorf("parseDep = %v, want %v", deps, want)
	}
}

func TestNameOf(t *testing.T) {
	for in, want := range map[string]string{
		"kernel/a/b-c.ko.xz": "b_c", "x.ko": "x", "x.ko.gz": "x", "x.konfig": "", "x.txt": "", ".ko": "", "": "",
	} {
		if got := nameOf(in); got != want {
			t.Errorf("nameOf(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseSoftdepAddsUp(t *testing.T) {
	got := parseSoftdep([]byte("# Soft dependencies\nsoftdep btrfs pre: crc32c xxhash64 post: raid6\nsoftdep btrfs pre: blake2b-256\nsoftdep x\nsoftdep y lost pre:\n"))
	if want := (soft{[]string{"crc32c", "xxhash64", "blake2b-256"}, []string{"raid6"}}); !reflect.DeepEqual(got["btrfs"], want) {
		t.Errorf("btrfs = %v, want %v", got["btrfs"], want)
	}
}

func TestAliasesLookup(t *testing.T) {
	a := parseAlias([]byte("# Aliases\n" +
		"alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio-pci\n" +
		"alias fs-ext4 ext4\n" +
		"alias crypto-aes aes_generic\nalias crypto-aes aesni-intel\n" +
		"alias usb:v*p*d*dc*dsc*dp*ic08isc0[2-5]ip50in* usb-storage\n" +
		"alias of:N*T*Cbrcm,bcm2835-wdtC* bcm2835_wdt\n" +
		"alias of:N*T*Cbrcm,bcm2835-wdt bcm2835_wdt\nbroken\nalias \n"))
	for in, want := range map[string][]string{
		"pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00": {"virtio_pci"},
		"fs-ext4":    {"ext4"},
		"fs_ext4":    {"ext4"},
		"crypto-aes": {"aes_generic", "aesni_intel"},
		"usb:v1234p5678d0100dc00dsc00dp00ic08isc04ip50in00": {"usb_storage"},
		"usb:v1234p5678d0100dc00dsc00dp00ic08isc06ip50in00": nil,
		"of:NwatchdogT(null)Cbrcm,bcm2835-wdt":              {"bcm2835_wdt"},
		"nothing":                                           nil,
		"":                                                  nil,
	} {
		if got := a.lookup(in); !reflect.DeepEqual(got, want) {
			t.Errorf("lookup(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestMatchIsShellMatching(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[!a-c]x", "dx", true}, {"[", "[", false}, {"a[b", "ab", false},
		{"*[0-9]", "abc7", true}, {"**", "x", true}, {"a-b", "a_b", false},
	} {
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*[b-d]?", "axxc1")
	f.Add("[!", "x")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := match(pattern, name)
		if strings.ContainsAny(pattern, `[\`) || strings.ContainsRune(name, '/') || !isASCII(pattern+name) {
			return // path.Match differs there
		}
		if want, err := path.Match(pattern, name); err == nil && got != want {
			t.Errorf("match(%q, %q) = %v, path.Match = %v", pattern, name, got, want)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func FuzzTables(f *testing.F) {
	f.Add([]byte("kernel/a.ko.xz: kernel/b.ko\nalias a* b\nsoftdep a pre: b post: c\n"), "ab")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		for n, e := range parseDep(b) {
			if n == "" || strings.HasPrefix(e.path, "/") || strings.HasPrefix(path.Clean(e.path), "..") {
				t.Errorf("parseDep: %q: %q", n, e.path)
			}
		}
		parseSoftdep(b)
		parseBuiltin(b)
		parseAlias(b).lookup(name)
	})
}
