package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Request says what a certificate is for.
type Request struct {
	CommonName    string   // Kubernetes: the user
	Organizations []string // Kubernetes: the user's groups
	Server        bool     // may serve TLS; needs DNSNames or IPs
	Client        bool     // may authenticate to a server
	DNSNames      []string
	IPs           []netip.Addr
}

func (r Request) check() error {
	switch {
	case r.CommonName == "":
		return errors.New("no common name")
	case !r.Server && !r.Client:
		return errors.New("neither a server nor a client certificate")
	case r.Server && len(r.DNSNames) == 0 && len(r.IPs) == 0:
		return errors.New("a server certificate needs at least one DNS name or IP address")
	}
	for _, ip := range r.IPs {
		if !ip.IsValid() {
			return fmt.Errorf("invalid IP address %v", ip)
		}
	}
	return nil
}

func (r Request) usages() []x509.ExtKeyUsage {
	var u []x509.ExtKeyUsage
	if r.Server {
		u = append(u, x509.ExtKeyUsageServerAuth)
	}
	if r.Client {
		u = append(u, x509.ExtKeyUsageClientAuth)
	}
	return u
}

func (r Request) netIPs() []net.IP {
	ips := make([]net.IP, 0, len(r.IPs))
	for _, ip := range r.IPs {
		ips = append(ips, ip.Unmap().WithZone("").AsSlice())
	}
	return ips
}

// differs names the first thing in which cert is not what r asks for; "" if nothing.
// A certificate with more names than asked for differs too: a lost address must go.
func (r Request) differs(cert *x509.Certificate) string {
	if cert.Subject.CommonName != r.CommonName {
		return fmt.Sprintf("common name is %q", cert.Subject.CommonName)
	}
	if !sameSet(cert.Subject.Organization, r.Organizations) {
		return fmt.Sprintf("organizations are %q", cert.Subject.Organization)
	}
	if !slices.Equal(cert.ExtKeyUsage, r.usages()) {
		return "key usage changed"
	}
	if !sameSet(cert.DNSNames, r.DNSNames) {
		return fmt.Sprintf("DNS names were %q", cert.DNSNames)
	}
	have := make([]string, 0, len(cert.IPAddresses))
	for _, ip := range cert.IPAddresses {
		have = append(have, ip.String())
	}
	want := make([]string, 0, len(r.IPs))
	for _, ip := range r.netIPs() {
		want = append(want, ip.String())
	}
	if !sameSet(have, want) {
		return fmt.Sprintf("IP addresses were %q", have)
	}
	return ""
}

// sameSet ignores order and repetition.
func sameSet(a, b []string) bool {
	sorted := func(s []string) []string {
		s = slices.Clone(s)
		slices.Sort(s)
		return slices.Compact(s)
	}
	return slices.Equal(sorted(a), sorted(b))
}
