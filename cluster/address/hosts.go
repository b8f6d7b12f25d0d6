package address

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// hosts is the text of /etc/hosts: loopback, and the node's names at its primary address.
func hosts(primary netip.Addr, names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" || n == "localhost" })
	slices.Sort(names)
	names = slices.Compact(names)
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	b.WriteString("::1 localhost ip6-localhost ip6-loopback\n")
	if len(names) > 0 {
		fmt.Fprintf(&b, "%s %s\n", primary, strings.Join(names, " "))
	}
	return b.String()
}
