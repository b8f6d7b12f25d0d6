// Package machine is the machine API as a client sees it: the types of its JSON, and a client. docs/machine-api.md has it route by route.
//
// A node listens on TCP port Port with TLS 1.3 and HTTP/2. Both sides show certificates of the cluster's machine CA: the node's is made
// out to the name ServerName, whatever address it is dialled at; a client's names its role in the subject's organization (RoleAdmin,
// RoleReadOnly). On the node itself the same routes are served on the unix socket Socket, which only root can open, in the role admin.
//
// Answers are JSON; an answer that is not 2xx is an Error. Routes that stream answer with one JSON value a line, except the logs, which are
// the text that the services wrote, and the support archive. Fields may be added to answers: a client ignores what it does not know.
//
// Standard library only: the laptop's CLI and the node process import it.
package machine

// The API's address.
const (
	// Port is the TCP port of the machine API.
	Port = 6440
	// ServerName is the DNS name in every node's certificate.
	ServerName = "machine.keelson"
	// Socket is the machine API's unix socket on the node.
	Socket = "/run/keelson/machine.sock"
)

// The roles, values of the organization in a client certificate's subject. A certificate of neither may do nothing.
const (
	RoleAdmin    = "admin"
	RoleReadOnly = "read-only"
)

// APIVersion is the number of this schema, the "v1" of the paths.
const APIVersion = 1
