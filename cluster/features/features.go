// Package features holds the one list of feature gates for the whole process.
//
// Upstream's components share one registry of gates per process, so that a gate cannot
// have one value for the API server and another for the kubelet. The list is applied
// once, before any component starts.
package features

import (
	"fmt"
	"maps"

	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// Defaults returns what differs from upstream's defaults, and why.
func Defaults() map[string]bool {
	return map[string]bool{
		// API servers of different versions in one cluster forward to each other. We have
		// one. Off saves the writes of its peer leases.
		"UnknownVersionInteroperabilityProxy": false,
		// Each API server renews a Lease of its own every 10 s; only the above, and counting
		// API servers, needs it. Off saves a write every 10 s.
		"APIServerIdentity": false,
		// Follow the node's address: the kubelet reads its serving certificate again.
		"ReloadKubeletServerCertificateFile": true,
	}
}

// Apply sets the defaults and then the user's gates. Call it once, first.
func Apply(user map[string]bool) error {
	gates := Defaults()
	maps.Copy(gates, user)
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(gates); err != nil {
		return fmt.Errorf("feature gates: %w", err)
	}
	return nil
}
