// Package api serves the machine API: package machine has its types, docs/machine-api.md its routes, docs/security.md what it demands.
//
// It is the one part of a node, besides Kubernetes, that answers the outside world. It runs in a process of its own (cmd/machined), which
// PID 1 starts before Kubernetes and can do without: PID 1 has no HTTP in it, and is asked over its socket (package control).
//
// What a stranger can do to it, in this order:
//
//	connect         64 connections at once, 8 per address (an IPv6 /64 counts as one); when they are all taken, the one that has been in its
//	                handshake for longest makes room. Per address 20 at once and 2 a second after that, over all 200 and 50
//	shake hands     10 s; TLS 1.3, a certificate of the machine CA that is valid now; no resumption, so that every connection is checked
//	ask             headers of 16 KiB in 10 s; bodies of 64 KiB (a configuration: 1 MiB) in 30 s
//	                16 requests at once, 100 streams; a connection that is silent for 2 minutes is closed
//
// A handler that panics is answered with one error.
//
// # What is where
//
//	server.go, listener.go, rate.go, tls.go   the ports
//	route.go, role.go, answer.go, stream.go   what all routes have in common
//	the rest                                  the routes, by what they are about
//
// Package slots below does what changes slots: upgrade and rollback.
package api
