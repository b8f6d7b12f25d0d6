package api

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// caller is who makes a request.
type caller struct {
	name  string // for the log, the console and the events
	admin bool
}

// localKey marks the connections of the unix socket.
type localKey struct{}

func local(ctx context.Context) bool { return ctx.Value(localKey{}) != nil }

// identify says who makes r, or why nobody may.
func identify(r *http.Request, now time.Time) (caller, *machine.Error) {
	if local(r.Context()) {
		return caller{"a process of the node", true}, nil
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return caller{}, &machine.Error{Status: http.StatusUnauthorized, Message: "no client certificate"}
	}
	cert := r.TLS.VerifiedChains[0][0]
	// A connection may live longer than the certificate it began with.
	if now.After(cert.NotAfter) {
		return caller{}, &machine.Error{Status: http.StatusUnauthorized, Message: "the client certificate expired at " + cert.NotAfter.Format(time.RFC3339)}
	}
	c := caller{name: fmt.Sprintf("%q at %s", cert.Subject.CommonName, r.RemoteAddr)}
	admin, readOnly := hasRole(cert, machine.RoleAdmin), hasRole(cert, machine.RoleReadOnly)
	if !admin && !readOnly {
		return c, &machine.Error{
			Status:  http.StatusForbidden,
			Message: fmt.Sprintf("the client certificate %q has no role: its organization is %q", cert.Subject.CommonName, cert.Subject.Organization),
			Do:      fmt.Sprintf("use one whose organization is %q or %q", machine.RoleAdmin, machine.RoleReadOnly),
		}
	}
	c.admin = admin
	return c, nil
}

func hasRole(cert *x509.Certificate, role string) bool {
	return slices.Contains(cert.Subject.Organization, role)
}
