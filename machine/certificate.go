package machine

import "time"

// Certificate is one of GET /v1/certificates.
type Certificate struct {
	Name      string    `json:"name"` // "server/serving-kube-apiserver", "agent/client-kubelet", "machine/server"
	File      string    `json:"file"` // empty: kept in memory
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	CA        bool      `json:"ca"`
	Usages    []string  `json:"usages"` // "server", "client"
	Names     []string  `json:"names"`  // DNS names and IP addresses that it is made out to
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Renewable says that the node can issue it anew: it does so by itself in the last third of its life.
	Renewable bool   `json:"renewable"`
	Problem   string `json:"problem,omitempty"` // "expired", "expires in 12 days and is not renewed", why the file cannot be read
}

// Renewal is the answer to POST /v1/certificates/renew.
type Renewal struct {
	Removed []string `json:"removed"` // names; the node process issues them anew while it starts again
}
