package credentials

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/keelson-os/keelson/cluster/pki"
)

// kubeconfigs writes the clients' kubeconfigs. Those inside the node name the certificate
// files, which client-go reads again when they change; the administrator's embeds them,
// because it is copied to other machines.
func (s *Store) kubeconfigs() error {
	tls, cred, agent := s.layout.ServerTLS(), s.layout.ServerCred(), s.layout.Agent()
	for _, k := range []struct{ file, cert string }{
		{filepath.Join(cred, KubeconfigAdmin), filepath.Join(tls, ClientAdmin)},
		{filepath.Join(cred, KubeconfigSuper), filepath.Join(tls, ClientSupervisor)},
		{filepath.Join(cred, KubeconfigControl), filepath.Join(tls, ClientController)},
		{filepath.Join(cred, KubeconfigSched), filepath.Join(tls, ClientScheduler)},
		{filepath.Join(agent, KubeconfigKubelet), filepath.Join(agent, ClientKubelet)},
		{filepath.Join(agent, KubeconfigProxy), filepath.Join(agent, ClientProxy)},
		{filepath.Join(agent, KubeconfigFlannel), filepath.Join(agent, ClientFlannel)},
		{filepath.Join(agent, KubeconfigDNS), filepath.Join(agent, ClientDNS)},
	} {
		text := kubeconfig(s.server(),
			"certificate-authority: "+filepath.Join(agent, ServerCA+".crt"),
			"client-certificate: "+k.cert+".crt",
			"client-key: "+k.cert+".key")
		if err := pki.WriteFile(k.file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	admin, err := pki.Load(tls, ClientAdmin)
	if err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	text := kubeconfig(s.server(),
		"certificate-authority-data: "+b64([]byte(s.secrets.ServerCA.Cert)),
		"client-certificate-data: "+b64([]byte(admin.Cert)),
		"client-key-data: "+b64([]byte(admin.Key)))
	return pki.WriteFile(s.layout.Kubeconfig(), []byte(text), fs.FileMode(s.cluster.KubeconfigMode))
}

// server is the API server as seen from this node. The loopback address is always there,
// whatever happens to the node's other addresses.
func (s *Store) server() string {
	return fmt.Sprintf("https://127.0.0.1:%d", s.cluster.HTTPSListenPort)
}

func kubeconfig(server, ca, cert, key string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    server: %s
    %s
users:
- name: default
  user:
    %s
    %s
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
`, server, ca, cert, key)
}
