package config

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

var (
	labelRE     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	linkRE      = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,15}$`)
	qualifiedRE = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	flagRE      = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]*(=.*)?$`)
	driverRE    = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)
)

// isLabel reports whether s is a lower-case RFC 1123 label, at most 63 bytes.
func isLabel(s string) bool { return labelRE.MatchString(s) }

// isSubdomain reports whether s is a lower-case RFC 1123 name: labels with dots between,
// at most 253 bytes.
func isSubdomain(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for l := range strings.SplitSeq(s, ".") {
		if !isLabel(l) {
			return false
		}
	}
	return true
}

// suggestLabel turns what a user wrote into the nearest valid label, "" if nothing is left.
func suggestLabel(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case r == ' ', r == '_', r == '.', r == '-':
			b.WriteByte('-')
		}
	}
	out := strings.Trim(b.String(), "-")
	if len(out) > 63 {
		out = strings.Trim(out[:63], "-")
	}
	return out
}

// isLink reports whether s can be the name of a network link (IFNAMSIZ is 16 with the NUL).
func isLink(s string) bool { return linkRE.MatchString(s) && s != "." && s != ".." }

// isHostPort reports whether s is a host name or address, with or without a port.
func isHostPort(s string) bool {
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return false
		}
		host = h
	}
	return isHost(host)
}

// isHost reports whether s is an IP address or a DNS name, in any case.
func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	return isSubdomain(strings.ToLower(s))
}

// isQualified reports whether s is a Kubernetes label or taint key: an optional DNS
// prefix with a slash, and a name.
func isQualified(s string) bool {
	if prefix, name, ok := strings.Cut(s, "/"); ok {
		return isSubdomain(prefix) && qualifiedRE.MatchString(name)
	}
	return qualifiedRE.MatchString(s)
}

func isLabelValue(s string) bool { return s == "" || qualifiedRE.MatchString(s) }

// kubeletLabel reports whether the kubelet may give its own node this label: of the
// kubernetes.io and k8s.io names only some, else it refuses to start.
// Source: k8s.io/kubelet/pkg/apis, IsKubeletLabel; KEP-279.
func kubeletLabel(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	if !ok {
		return true
	}
	under := func(domain string) bool { return prefix == domain || strings.HasSuffix(prefix, "."+domain) }
	if !under("kubernetes.io") && !under("k8s.io") {
		return true
	}
	if under("kubelet.kubernetes.io") || under("node.kubernetes.io") {
		return true
	}
	switch key {
	case "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch",
		"topology.kubernetes.io/zone", "topology.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
		"beta.kubernetes.io/instance-type", "beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return false
}
