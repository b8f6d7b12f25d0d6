package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// maxResolvers is CoreDNS's limit for one forward directive.
const maxResolvers = 15

// resolvers returns the name servers of a resolv.conf that questions can be forwarded to, in
// their order and each once. Not among them are cluster, which would be asking oneself,
// loopback addresses, where nobody answers, and link-local ones, because CoreDNS cannot dial
// an address with a zone.
// Source: resolv.conf(5).
func resolvers(text string, cluster netip.Addr) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(f[1])
		if err != nil {
			continue
		}
		a = a.Unmap()
		if a == cluster || a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.Zone() != "" || slices.Contains(out, a.String()) {
			continue
		}
		if out = append(out, a.String()); len(out) == maxResolvers {
			break
		}
	}
	return out
}

// resolvFile reads a file that is replaced, not written in place, when it changes.
type resolvFile struct {
	path string
	info fs.FileInfo // of what was read last; nil: it was not there
	seen bool
}

// resolvInterval is the pause between two looks at the file's times.
const resolvInterval = 5 * time.Second

// changed returns the file's text, and whether it is another than at the last call. A file
// that is not there is an empty one.
func (f *resolvFile) changed() (text string, changed bool, err error) {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		changed = !f.seen || f.info != nil
		f.info, f.seen = nil, true
		return "", changed, nil
	}
	if err != nil {
		return "", false, err
	}
	if f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) && f.info.Size() == info.Size() {
		return "", false, nil
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return "", false, fmt.Errorf("read name servers: %w", err)
	}
	f.info, f.seen = info, true
	return string(data), true, nil
}
