// Package generate makes a new cluster's directory on the operator's computer, before
// any node exists: CAs, tokens, a configuration for a server and one for an agent, a
// kubeconfig and a client certificate for the machine API.
//
//	NAME/               0700
//	  secrets.yaml      the CAs with their keys, the tokens: whoever has it owns the cluster
//	  server.yaml       configuration of a server
//	  agent.yaml        configuration of an agent
//	  kubeconfig        cluster administrator (group system:masters)
//	  client.crt, .key  machine API administrator (role admin)
//	  machine-ca.crt    the machine CA's certificate, so that a laptop without secrets.yaml can talk to nodes
//	  release.key, .pub what upgrades are signed with, in minisign's formats
//	  release-next.key, .pub
//	                    what they will be signed with when the first is lost or replaced
//
// All files are 0600 but the two .pub, which are 0644. Administrators' certificates are valid for AdminLifetime.
//
// It is apart from package config so that PID 1, which reads configurations, does not
// carry the code that makes certificates.
package generate
