package upgrade

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/keelson-os/keelson/cluster/address"
	"github.com/keelson-os/keelson/cluster/pki"
	"github.com/keelson-os/keelson/machine"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// asked is a machine API that answers each question for its status with who asks.
func asked(w http.ResponseWriter, r *http.Request) {
	st := machine.Status{Role: "socket"}
	if r.TLS != nil {
		st.Role = r.TLS.PeerCertificates[0].Subject.Organization[0]
		st.Node = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(st)
}

func TestOtherNodesAreAskedAsAdminByACertificateOfTheMachineCA(t *testing.T) {
	pair, err := pki.NewCA("machine", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.ParseCA(pair)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ca.Issue(pki.Request{CommonName: "b", Server: true, DNSNames: []string{machine.ServerName}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair([]byte(own.Cert), []byte(own.Key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(pair.Cert))
	server := httptest.NewUnstartedServer(http.HandlerFunc(asked))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	defer server.Close()

	d := &dialer{self: "a", ca: pair}
	// The port is fixed, so the address has it here.
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "b"},
		{Type: corev1.NodeInternalIP, Address: address.Stable.String()},
		{Type: corev1.NodeInternalIP, Address: server.Listener.Addr().String()},
	}}}
	for range 2 {
		api, err := d.dial(n)
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close()
		st, err := api.Status(t.Context())
		if err != nil || st.Role != machine.RoleAdmin || st.Node != "upgrade-controller@a" {
			t.Errorf("asked as %q, %q, %v, want upgrade-controller@a, admin", st.Node, st.Role, err)
		}
	}
	issued := d.pair
	if again, err := d.certificate(d.issued.Add(clientLife + time.Second)); err != nil || again.Cert == issued.Cert {
		t.Errorf("after %s: %v, the certificate is the same: %v, want another", clientLife, err, again.Cert == issued.Cert)
	}
}

func TestThisNodeIsAskedByItsSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "machine.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(asked), Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Protocols.SetHTTP1(true)
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	api, err := (&dialer{self: "a", socket: socket}).dial(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	if st, err := api.Status(t.Context()); err != nil || st.Role != "socket" {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestANodeWithoutAnAddressOfItsOwnCannotBeAsked(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: address.Stable.String()},
	}}}
	if _, err := (&dialer{self: "a"}).dial(n); err == nil {
		t.Error("a client of the address that every node has")
	}
}
