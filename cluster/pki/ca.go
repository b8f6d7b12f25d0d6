package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/keelson-os/keelson/config"
)

// Epoch is the start of every certificate's validity; see the package comment.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	// CALifetime is how long a CA is valid from its making. A CA is not renewed by the
	// node, so this is longer than any board lives.
	CALifetime = 20 * 365 * 24 * time.Hour
	// Lifetime is how long an issued certificate is valid.
	Lifetime = 365 * 24 * time.Hour
	// RenewBefore is the rest of the validity below which Ensure issues anew: a third of
	// Lifetime, which is more than 90 days.
	RenewBefore = Lifetime / 3
)

const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
	pemPublicKey   = "PUBLIC KEY"
)

// CA issues certificates. It is safe for concurrent use.
type CA struct {
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
}

// NewCA makes a self-signed CA with the given common name.
func NewCA(name string, now time.Time) (config.KeyPair, error) {
	key, err := newKey()
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("make CA %q: %w", name, err)
	}
	notBefore, notAfter := validity(now, CALifetime)
	t, err := template(pkix.Name{CommonName: name}, notBefore, notAfter)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("make CA %q: %w", name, err)
	}
	t.IsCA = true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("make CA %q: %w", name, err)
	}
	pair, err := encode(der, key)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("make CA %q: %w", name, err)
	}
	return pair, nil
}

// ParseCA reads a CA from its PEM texts. The key may be PKCS#8, SEC 1 or PKCS#1.
// It is an error if the certificate is no CA or the key is not its key.
func ParseCA(pair config.KeyPair) (*CA, error) {
	cert, err := parse(pair)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	if !cert.Leaf.IsCA {
		return nil, fmt.Errorf("read CA %q: certificate is not a CA", cert.Leaf.Subject.CommonName)
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read CA %q: key of type %T cannot sign", cert.Leaf.Subject.CommonName, cert.PrivateKey)
	}
	return &CA{cert: cert.Leaf, key: signer, certPEM: []byte(pair.Cert)}, nil
}

// CertPEM is the CA's certificate as it was given.
func (ca *CA) CertPEM() []byte { return ca.certPEM }

// Issue makes a key and a certificate for r, signed by ca and valid from Epoch until
// Lifetime after now, but never longer than the CA.
func (ca *CA) Issue(r Request, now time.Time) (config.KeyPair, error) {
	return ca.IssueFor(r, Lifetime, now)
}

// IssueFor is Issue for a certificate that is valid until lifetime after now.
func (ca *CA) IssueFor(r Request, lifetime time.Duration, now time.Time) (config.KeyPair, error) {
	if err := r.check(); err != nil {
		return config.KeyPair{}, fmt.Errorf("issue certificate %q: %w", r.CommonName, err)
	}
	key, err := newKey()
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("issue certificate %q: %w", r.CommonName, err)
	}
	notBefore, notAfter := validity(now, lifetime)
	if notAfter.After(ca.cert.NotAfter) {
		notAfter = ca.cert.NotAfter
	}
	t, err := template(pkix.Name{CommonName: r.CommonName, Organization: r.Organizations}, notBefore, notAfter)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("issue certificate %q: %w", r.CommonName, err)
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = r.usages()
	t.DNSNames = r.DNSNames
	t.IPAddresses = r.netIPs()
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("issue certificate %q: %w", r.CommonName, err)
	}
	pair, err := encode(der, key)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("issue certificate %q: %w", r.CommonName, err)
	}
	return pair, nil
}

// NewKey makes a private key, PKCS#8 PEM, as used for service account tokens.
func NewKey() (string, error) {
	key, err := newKey()
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der})), nil
}

// PublicKey returns the public half of a private key (PKCS#8, SEC 1 or PKCS#1 PEM), as
// PKIX PEM.
func PublicKey(privatePEM string) (string, error) {
	block, _ := pem.Decode([]byte(privatePEM))
	if block == nil {
		return "", errors.New("read private key: not PEM")
	}
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
				return "", errors.New("read private key: neither PKCS#8, SEC 1 nor PKCS#1")
			}
		}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return "", fmt.Errorf("read private key: %T cannot sign", key)
	}
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: der})), nil
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate P-256 key: %w", err)
	}
	return key, nil
}

// validity is [Epoch, now+life]; a clock that stands before Epoch is treated as Epoch,
// and the certificate is then valid at the wrong time as well.
func validity(now time.Time, life time.Duration) (notBefore, notAfter time.Time) {
	notBefore = Epoch
	if now.Before(Epoch) {
		notBefore = now.Add(-time.Hour)
		now = Epoch
	}
	return notBefore.UTC(), now.Add(life).UTC()
}

func template(subject pkix.Name, notBefore, notAfter time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               subject,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
	}, nil
}

func encode(der []byte, key *ecdsa.PrivateKey) (config.KeyPair, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return config.KeyPair{}, fmt.Errorf("encode key: %w", err)
	}
	return config.KeyPair{
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})),
		Key:  string(pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: keyDER})),
	}, nil
}

var errEmpty = errors.New("certificate or key is empty")

// parse checks that key and certificate belong together and fills in Leaf.
func parse(pair config.KeyPair) (tls.Certificate, error) {
	if pair.Cert == "" || pair.Key == "" {
		return tls.Certificate{}, errEmpty
	}
	cert, err := tls.X509KeyPair([]byte(pair.Cert), []byte(pair.Key))
	if err != nil {
		return tls.Certificate{}, err
	}
	if cert.Leaf == nil { // only with GODEBUG=x509keypairleaf=0
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return tls.Certificate{}, err
		}
	}
	return cert, nil
}
