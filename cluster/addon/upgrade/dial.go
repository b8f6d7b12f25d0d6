package upgrade

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keelson-os/keelson/cluster/address"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
	corev1 "k8s.io/api/core/v1"
)

// node is a node's machine API.
type node interface {
	Status(ctx context.Context) (machine.Status, error)
	Upgrade(ctx context.Context, r machine.UpgradeRequest, progress func(machine.UpgradeProgress)) (machine.UpgradeResult, error)
	Reboot(ctx context.Context) error
	Close()
}

var _ node = (*machine.Client)(nil)

// clientLife is how long a client certificate is used before another is issued. It is in
// memory only, valid for longer, and costs nothing to make.
const clientLife = 24 * time.Hour

// dialer reaches machine APIs: this node's by its socket, others' by TCP with a certificate
// that it issues itself.
type dialer struct {
	self, socket string
	ca           config.KeyPair // the machine CA

	mu     sync.Mutex
	pair   config.KeyPair
	issued time.Time
}

// dial returns a client; it does not connect yet.
func (d *dialer) dial(n *corev1.Node) (node, error) {
	if n.Name == d.self {
		return machine.Local(d.socket), nil
	}
	host := internalIP(n)
	if host == "" {
		return nil, fmt.Errorf("node %s has no InternalIP that other nodes reach", n.Name)
	}
	pair, err := d.certificate(time.Now())
	if err != nil {
		return nil, err
	}
	return machine.Dial(machine.Config{Address: host, CA: []byte(d.ca.Cert), Cert: []byte(pair.Cert), Key: []byte(pair.Key)})
}

// internalIP is the first one that is not the address that every node has.
func internalIP(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && a.Address != address.Stable.String() {
			return a.Address
		}
	}
	return ""
}

func (d *dialer) certificate(now time.Time) (config.KeyPair, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if age := now.Sub(d.issued); age >= 0 && age < clientLife {
		return d.pair, nil
	}
	ca, err := pki.ParseCA(d.ca)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("secrets: machine-ca: %w", err)
	}
	pair, err := ca.Issue(pki.Request{CommonName: component + "@" + d.self, Organizations: []string{machine.RoleAdmin}, Client: true}, now)
	if err != nil {
		return config.KeyPair{}, err
	}
	d.pair, d.issued = pair, now
	return pair, nil
}
