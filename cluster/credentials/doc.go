// Package credentials puts on the disk everything with which the parts of a server
// authenticate to each other and to people: CAs, certificates, kubeconfigs, tokens.
//
//	<data>/server/tls/server-ca.*, client-ca.*, request-header-ca.*, service.key
//	<data>/server/tls/*.crt, *.key      control plane (see certificates.go)
//	<data>/server/cred/*.kubeconfig     control plane clients; they name files, embed nothing
//	<data>/server/token, node-token     for joining servers and agents
//	<data>/server/agent-token           for joining agents
//	<data>/agent/*                      the node's own
//	<etc>/k3s.yaml                      the administrator's kubeconfig
//
// The names are k3s's. Clients and servers read their certificate files again when they
// change, so that a renewal needs no restart.
//
// It imports nothing of Kubernetes.
package credentials
