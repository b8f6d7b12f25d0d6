package api

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
)

// epoch is the start of the server certificate's validity: a board without a clock begins at some past time, and the key
// did not exist before, so nothing is lost by it. All certificates of a cluster begin there.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// lifetime is how long the server certificate is valid. It is made anew at each start, and in the last third of its life.
const lifetime = 365 * 24 * time.Hour

// identity is the machine CA and the server certificate that it signs, which is kept in memory alone.
type identity struct {
	ca     tls.Certificate // Leaf is set
	pool   *x509.CertPool
	common string // the certificate's common name, for who looks at it
	now    func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
}

// newIdentity takes the machine CA's PEM texts. Both sides trust this CA alone.
func newIdentity(pair config.KeyPair, common string, now func() time.Time) (*identity, error) {
	ca, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		return nil, fmt.Errorf("machine CA: %w", err)
	}
	if ca.Leaf == nil {
		if ca.Leaf, err = x509.ParseCertificate(ca.Certificate[0]); err != nil {
			return nil, fmt.Errorf("machine CA: %w", err)
		}
	}
	if _, ok := ca.PrivateKey.(crypto.Signer); !ok || !ca.Leaf.IsCA {
		return nil, errors.New("machine CA: the certificate is no CA's, or the key cannot sign")
	}
	i := &identity{ca: ca, pool: x509.NewCertPool(), common: common, now: now}
	i.pool.AddCert(ca.Leaf)
	if _, err := i.certificate(); err != nil {
		return nil, err
	}
	return i, nil
}

// certificate returns the server certificate, which is made anew when a third of its life is left, or when the clock has jumped away from it.
func (i *identity) certificate() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if now := i.now(); i.current == nil || now.After(i.current.Leaf.NotAfter.Add(-lifetime/3)) && now.Before(i.ca.Leaf.NotAfter.Add(-lifetime/3)) {
		made, err := i.issue(now)
		if err != nil {
			return nil, err
		}
		i.current = made
	}
	return i.current, nil
}

// renew forgets the server certificate: the next handshake makes another.
func (i *identity) renew() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = nil
}

func (i *identity) issue(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	begin := epoch
	if now.Before(epoch) {
		begin = now.Add(-time.Hour)
	}
	end := now.Add(lifetime)
	if end.After(i.ca.Leaf.NotAfter) {
		end = i.ca.Leaf.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: i.common},
		DNSNames:              []string{machine.ServerName},
		NotBefore:             begin.UTC(),
		NotAfter:              end.UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, i.ca.Leaf, key.Public(), i.ca.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// config is the server's.
func (i *identity) config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              i.pool,
		Time:                   i.now,
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.certificate() },
	}
}
