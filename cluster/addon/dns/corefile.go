package dns

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// settings are what a Corefile is made of.
type settings struct {
	custom    map[string]string // the ConfigMap coredns-custom
	hosts     string            // NodeHosts
	resolvers []string          // addresses
}

func (s settings) equal(o settings) bool {
	return maps.Equal(s.custom, o.custom) && s.hosts == o.hosts && slices.Equal(s.resolvers, o.resolvers)
}

const (
	overrideSuffix = ".override"
	serverSuffix   = ".server"
	hostsName      = "NodeHosts"
	customName     = "custom"
)

// keys of custom with the suffix, sorted, as a glob pattern would have them.
func keys(custom map[string]string, suffix string) []string {
	var out []string
	for k := range custom {
		if strings.HasSuffix(k, suffix) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// corefile is the text for s whose files are in folder. The NodeHosts file is not polled:
// when it changes, everything is loaded again. Errors that come with every question while a
// name server is away are counted, not logged one by one.
func (e *engine) corefile(s settings, folder string) string {
	var b strings.Builder
	imports := func(suffix, indent string) {
		for _, k := range keys(s.custom, suffix) {
			fmt.Fprintf(&b, "%simport %q\n", indent, filepath.Join(folder, customName, k))
		}
	}
	fmt.Fprintf(&b, ".:53 {\n    %s %s\n", guardDirective, e.name)
	b.WriteString("    errors {\n        consolidate 5m \"(i/o timeout|unreachable|no route to host|connection refused|no healthy proxies)$\" warning\n    }\n")
	if e.cluster != nil {
		fmt.Fprintf(&b, "    %s %s\n", clusterDirective, e.name)
	}
	fmt.Fprintf(&b, "    hosts %q {\n        ttl 60\n        reload 0s\n        fallthrough\n    }\n", filepath.Join(folder, hostsName))
	b.WriteString("    cache 30\n    loadbalance\n")
	imports(overrideSuffix, "    ")
	if len(s.resolvers) > 0 {
		fmt.Fprintf(&b, "    forward . %s\n", strings.Join(s.resolvers, " "))
	} else {
		fmt.Fprintf(&b, "    %s\n", offlineDirective)
	}
	b.WriteString("}\n")
	imports(serverSuffix, "")
	return b.String()
}
