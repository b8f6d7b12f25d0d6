package machine

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
)

// Version asks which system runs.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return get[Version](ctx, c, "/v1/version")
}

// Status asks how the node is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}

// Services lists what PID 1 keeps running.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	return get[[]Service](ctx, c, "/v1/services")
}

// Processes lists all processes, by PID.
func (c *Client) Processes(ctx context.Context) ([]Process, error) {
	return get[[]Process](ctx, c, "/v1/ps")
}

// Disks lists disks and partitions.
func (c *Client) Disks(ctx context.Context) ([]Disk, error) {
	return get[[]Disk](ctx, c, "/v1/disks")
}

// Network asks for links, addresses, routes and name servers.
func (c *Client) Network(ctx context.Context) (Network, error) {
	return get[Network](ctx, c, "/v1/network")
}

// Time asks for the clock.
func (c *Client) Time(ctx context.Context) (Time, error) {
	return get[Time](ctx, c, "/v1/time")
}

// Certificates lists every certificate the node has.
func (c *Client) Certificates(ctx context.Context) ([]Certificate, error) {
	return get[[]Certificate](ctx, c, "/v1/certificates")
}

// Config returns the configuration in force, keelson.yaml, without secrets: it is not what was written where that held any.
func (c *Client) Config(ctx context.Context) ([]byte, error) {
	return c.whole(ctx, http.MethodGet, "/v1/config", "", nil)
}

// PutConfig makes yaml the configuration: the node checks it, keeps the secrets it has, and reboots; if it does not come back healthy with
// it, it goes back to the old one by itself. A configuration with mistakes is an ErrRefused with the text of "keelson config validate".
func (c *Client) PutConfig(ctx context.Context, yaml []byte) (ConfigChange, error) {
	return sent[ConfigChange](c.whole(ctx, http.MethodPut, "/v1/config", "application/yaml", bytes.NewReader(yaml)))
}

// Kubeconfig returns the administrator's kubeconfig, its server at the address this client dialled. Role admin.
func (c *Client) Kubeconfig(ctx context.Context) ([]byte, error) {
	return c.whole(ctx, http.MethodGet, "/v1/kubeconfig", "", nil)
}

// Restart restarts a service. Role admin.
func (c *Client) Restart(ctx context.Context, service string) error {
	_, err := post[struct{}](ctx, c, "/v1/services/"+url.PathEscape(service)+"/restart", nil)
	return err
}

// Reboot shuts the machine down and starts it again. Role admin.
func (c *Client) Reboot(ctx context.Context) error {
	_, err := post[struct{}](ctx, c, "/v1/reboot", nil)
	return err
}

// PowerOff shuts the machine down. Role admin.
func (c *Client) PowerOff(ctx context.Context) error {
	_, err := post[struct{}](ctx, c, "/v1/poweroff", nil)
	return err
}

// Reset wipes the node. Role admin.
func (c *Client) Reset(ctx context.Context, r ResetRequest) (Reset, error) {
	return post[Reset](ctx, c, "/v1/reset", r)
}

// Rollback goes back to the system of the other slot and reboots. Role admin.
func (c *Client) Rollback(ctx context.Context) (Rollback, error) {
	return post[Rollback](ctx, c, "/v1/rollback", nil)
}

// RenewCertificates lets the node issue all certificates anew that it can, and restarts the node process. Role admin.
func (c *Client) RenewCertificates(ctx context.Context) (Renewal, error) {
	return post[Renewal](ctx, c, "/v1/certificates/renew", nil)
}
