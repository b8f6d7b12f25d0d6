// Package ext has the types by which builds of Traefik add fields to its dynamic
// configuration. Traefik's repository keeps it as a module of its own, which cannot be
// required from outside, because a replace line there names its folder; ours adds nothing.
package ext

type (
	// HTTP would add to the HTTP configuration.
	HTTP struct{}
	// Router would add to a router.
	Router struct{}
	// RouterIng would add to what annotations of an Ingress say about a router.
	RouterIng struct{}
)

// ToRouter returns what annotations add to a router.
func (RouterIng) ToRouter() Router { return Router{} }
