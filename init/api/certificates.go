package api

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/machine"
)

func (s *Server) getCertificates(w http.ResponseWriter, _ *http.Request, _ caller) error {
	writeJSON(w, http.StatusOK, s.certificates())
	return nil
}

// certificates lists the machine API's own, those in the node's folders, and the one in the administrator's kubeconfig.
func (s *Server) certificates() []machine.Certificate {
	now := s.Now()
	list := []machine.Certificate{}
	if own, err := s.identity.certificate(); err == nil {
		c := describe(own.Leaf, now)
		c.Name, c.Renewable = "machine/server", true
		list = append(list, c)
	}
	ca := describe(s.identity.ca.Leaf, now)
	ca.Name, ca.File = "machine/ca", filepath.Join(s.Places.Config, config.SecretsName)
	list = append(list, ca)
	for _, file := range s.certificateFiles() {
		list = append(list, s.describeFile(file, now)...)
	}
	return list
}

// certificateFiles are all of the Kubernetes node's, by name.
func (s *Server) certificateFiles() []string {
	var files []string
	for _, pattern := range []string{"server/tls/*.crt", "server/tls/*/*.crt", "agent/*.crt"} {
		found, _ := filepath.Glob(filepath.Join(s.Places.Data, pattern))
		files = append(files, found...)
	}
	slices.Sort(files)
	return files
}

func (s *Server) describeFile(file string, now time.Time) []machine.Certificate {
	name := strings.TrimSuffix(strings.TrimPrefix(file, s.Places.Data+"/"), ".crt")
	name = strings.Replace(name, "server/tls/", "server/", 1)
	certs, err := readCertificates(file)
	if err != nil {
		return []machine.Certificate{{Name: name, File: file, Usages: []string{}, Names: []string{}, Renewable: hasKey(file), Problem: err.Error()}}
	}
	var list []machine.Certificate
	for _, x := range certs {
		c := describe(x, now)
		c.Name, c.File = name, file
		// A CA is the cluster's, and is not made on a node.
		c.Renewable = !x.IsCA && hasKey(file)
		if c.Problem == "" && !c.Renewable && x.NotAfter.Sub(now) < soon {
			c.Problem = fmt.Sprintf("expires in %d days, and the node cannot renew it", int(x.NotAfter.Sub(now).Hours()/24))
		}
		list = append(list, c)
	}
	return list
}

// soon is when the end of a certificate that nobody renews becomes a problem.
const soon = 90 * 24 * time.Hour

func keyOf(file string) string { return strings.TrimSuffix(file, ".crt") + ".key" }

func hasKey(file string) bool {
	_, err := os.Stat(keyOf(file))
	return err == nil
}

// readCertificates reads all certificates of a PEM file.
func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := readMax(file, 1<<20)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			return nil, p.Err
		}
		return nil, err
	}
	return parseCertificates(data)
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return certs, nil
}

func describe(x *x509.Certificate, now time.Time) machine.Certificate {
	c := machine.Certificate{
		Subject: x.Subject.String(), Issuer: x.Issuer.String(), CA: x.IsCA,
		Usages: []string{}, Names: append([]string{}, x.DNSNames...), NotBefore: x.NotBefore, NotAfter: x.NotAfter,
	}
	for _, u := range x.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			c.Usages = append(c.Usages, "server")
		case x509.ExtKeyUsageClientAuth:
			c.Usages = append(c.Usages, "client")
		}
	}
	for _, ip := range x.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	switch {
	case now.After(x.NotAfter):
		c.Problem = "expired"
	case now.Before(x.NotBefore):
		c.Problem = "not valid yet: is the clock right?"
	}
	return c
}

// renew removes what the node can make anew, and lets it start again, which makes it. What runs has its certificates in memory until then.
func (s *Server) renew(w http.ResponseWriter, r *http.Request, by caller) error {
	if !s.changing.TryLock() {
		return refuse(http.StatusConflict, "certificates or the configuration are being changed by somebody else")
	}
	defer s.changing.Unlock()
	// Asked before anything is removed: without PID 1 nothing would be made anew.
	if _, err := s.pid1(r.Context()); err != nil {
		return unavailable(err)
	}
	answer := machine.Renewal{Removed: []string{"machine/server"}}
	for _, file := range s.certificateFiles() {
		for _, c := range s.describeFile(file, s.Now()) {
			if !c.Renewable || slices.Contains(answer.Removed, c.Name) {
				continue
			}
			// The certificate first: a key alone is no pair, so that a power cut in between is mended by the next start.
			if err := os.Remove(file); err != nil {
				return err
			}
			if err := os.Remove(keyOf(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			answer.Removed = append(answer.Removed, c.Name)
		}
	}
	s.identity.renew()
	if err := s.Control.Renew(r.Context(), by.name); err != nil {
		return unavailable(err)
	}
	writeJSON(w, http.StatusAccepted, answer)
	return nil
}
