package await

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// HTTPS returns a probe that asks url for status 200 and a body with the text contains in
// it. The server's certificate must be by the CA in caFile. No credentials are sent.
func HTTPS(url, caFile, contains string) (func(context.Context) error, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s: no certificate in it", caFile)
	}
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: pool},
			DisableKeepAlives: true,
		},
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", url, resp.Status, failed(string(body)))
		}
		if !strings.Contains(string(body), contains) {
			return fmt.Errorf("%s: no %q in the answer yet", url, contains)
		}
		return nil
	}, nil
}

// failed keeps the failing checks ("[-]name ...") of a Kubernetes health answer.
func failed(body string) string {
	var out []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "[-]") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	if len(out) == 0 {
		return strings.Join(strings.Fields(body), " ")
	}
	return strings.Join(out, ", ")
}
