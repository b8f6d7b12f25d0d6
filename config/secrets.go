package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// secrets reads the mapping of a secrets file, or the one written in place. All
// mistakes are recorded in d, which must be a decoder that hides values.
func (d *decoder) secrets(p string, n *yaml.Node) *Secrets {
	s := &Secrets{}
	pairs := []struct {
		key  string
		into *KeyPair
	}{
		{"server-ca", &s.ServerCA}, {"client-ca", &s.ClientCA},
		{"request-header-ca", &s.RequestHeaderCA}, {"machine-ca", &s.MachineCA},
	}
	owner := map[string]string{} // public key of a CA → its key in the file
	known := fields{
		"service-account-key": func(p string, v *yaml.Node) {
			text, ok := d.text(p, v, "a private key as PEM text")
			if !ok {
				return
			}
			key, err := parseKey(text)
			if err != nil {
				d.fail(v, p, "%v", err)
				return
			}
			if _, ed := key.(ed25519.PrivateKey); ed {
				d.fail(v, p, "found an Ed25519 key, expected an RSA or ECDSA key (Kubernetes signs tokens with no other)")
				return
			}
			s.ServiceAccountKey = text
		},
	}
	for _, x := range pairs {
		known[x.key] = func(p string, v *yaml.Node) { d.keyPair(p, v, x.into, owner) }
	}
	for key, into := range map[string]*string{"server-token": &s.ServerToken, "agent-token": &s.AgentToken} {
		known[key] = func(p string, v *yaml.Node) {
			*into, _ = d.textWhere(p, v, "the password part of a token: at least 16 characters, no spaces or colons", func(s string) bool {
				return passwordRE.MatchString(s) && len(s) >= 16 && !strings.HasPrefix(s, "K10")
			})
		}
	}
	d.mapping(p, n, known, nil)
	if n.Kind != yaml.MappingNode && !isNull(n) {
		return s
	}
	for _, key := range []string{"server-ca", "client-ca", "request-header-ca", "machine-ca", "service-account-key", "server-token", "agent-token"} {
		if !d.has(join(p, key)) {
			d.failAt(join(p, key), "missing; every cluster needs it: take the secrets.yaml that \"keelson config new\" made")
		}
	}
	if s.ServerToken != "" && s.ServerToken == s.AgentToken {
		d.failAt(join(p, "agent-token"), "is the same as server-token; an agent's token would then let servers join: use another")
	}
	return s
}

// keyPair reads a CA: {cert: PEM, key: PEM}. owner collects the public keys seen, since
// two CAs with one key would trust each other's certificates.
func (d *decoder) keyPair(p string, n *yaml.Node, into *KeyPair, owner map[string]string) {
	if isNull(n) {
		d.fail(n, p, "found nothing, expected a CA: {cert: PEM text, key: PEM text}")
		return
	}
	var cert *x509.Certificate
	var key crypto.Signer
	d.mapping(p, n, fields{
		"cert": func(p string, v *yaml.Node) {
			text, ok := d.text(p, v, "a certificate as PEM text")
			if !ok {
				return
			}
			c, err := parseCert(text)
			if err != nil {
				d.fail(v, p, "%v", err)
				return
			}
			if !c.BasicConstraintsValid || !c.IsCA {
				d.fail(v, p, "found the certificate of no CA (its CA flag is not set), expected a CA's")
				return
			}
			if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
				d.fail(v, p, "found a certificate that may not sign others (key usage), expected a CA's")
				return
			}
			cert, into.Cert = c, text
		},
		"key": func(p string, v *yaml.Node) {
			text, ok := d.text(p, v, "a private key as PEM text")
			if !ok {
				return
			}
			k, err := parseKey(text)
			if err != nil {
				d.fail(v, p, "%v", err)
				return
			}
			key, into.Key = k, text
		},
	}, nil)
	if n.Kind != yaml.MappingNode {
		return
	}
	d.require(p, "cert", "a certificate as PEM text")
	d.require(p, "key", "a private key as PEM text")
	if cert == nil || key == nil {
		return
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(cert.PublicKey) {
		d.failAt(p+".key", "is not the key of the certificate in %s.cert; take both from the same place", p)
		return
	}
	id := string(cert.RawSubjectPublicKeyInfo)
	if first, dup := owner[id]; dup {
		d.failAt(p+".cert", "has the same key as %s; each CA needs its own, else one could make the other's certificates", first)
		return
	}
	owner[id] = p
}

var errNotPEM = errors.New("found no PEM text (-----BEGIN ...); write it as a block: \"|\" after the key, the lines below indented")

// parseCert reads exactly one certificate.
func parseCert(text string) (*x509.Certificate, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errNotPEM
	case block.Type != "CERTIFICATE":
		return nil, errors.New("found a PEM block of another kind, expected BEGIN CERTIFICATE")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("found more after the certificate, expected one certificate only")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("found a damaged certificate; was a line lost when it was copied?")
	}
	return c, nil
}

// parseCerts reads one or more certificates.
func parseCerts(text string) error {
	for n := 0; ; n++ {
		block, rest := pem.Decode([]byte(text))
		switch {
		case block == nil && n == 0:
			return errNotPEM
		case block == nil && strings.TrimSpace(text) != "":
			return errors.New("found something else after the certificates; was a line lost when they were copied?")
		case block == nil:
			return nil
		case block.Type != "CERTIFICATE":
			return errors.New("found a PEM block of another kind, expected BEGIN CERTIFICATE")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return errors.New("found a damaged certificate; was a line lost when it was copied?")
		}
		text = string(rest)
	}
}

// parseKey reads exactly one private key: PKCS#8, SEC 1 or PKCS#1, not encrypted.
func parseKey(text string) (crypto.Signer, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errNotPEM
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("found more after the key, expected one private key only")
	}
	damaged := errors.New("found a damaged private key; was a line lost when it was copied?")
	switch block.Type {
	case "PRIVATE KEY":
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, damaged
		}
		switch k := k.(type) {
		case *ecdsa.PrivateKey:
			return k, nil
		case *rsa.PrivateKey:
			return k, nil
		case ed25519.PrivateKey:
			return k, nil
		}
		return nil, errors.New("found a private key of another kind, expected RSA, ECDSA or Ed25519")
	case "EC PRIVATE KEY":
		k, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return nil, damaged
		}
		return k, nil
	case "RSA PRIVATE KEY":
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, damaged
		}
		return k, nil
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("found an encrypted private key; a node cannot ask for its password: decrypt it")
	}
	return nil, errors.New("found a PEM block of another kind, expected BEGIN PRIVATE KEY")
}
