package api

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// hostPattern is a host name as a URL may have it.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// serverLine is the API server's line in a kubeconfig of the node.
var serverLine = regexp.MustCompile(`(?m)^(\s+server:) https://\S+$`)

// getKubeconfig replaces the loopback address by the one that the client dialled: there it reaches the node.
func (s *Server) getKubeconfig(w http.ResponseWriter, r *http.Request, _ caller) error {
	data, err := readMax(s.Places.Kubeconfig, configMax)
	if errors.Is(err, fs.ErrNotExist) {
		e := refuse(http.StatusServiceUnavailable, "there is no kubeconfig yet: the node makes it when it starts for the first time")
		e.Do = "see the status for what it waits for"
		return e
	}
	if err != nil {
		return err
	}
	if !local(r.Context()) {
		host, ok := dialled(r.Host)
		if !ok {
			return refuse(http.StatusBadRequest, "host %q: want the address at which the node is dialled", cut(r.Host))
		}
		api := "https://" + net.JoinHostPort(host, strconv.Itoa(s.Config.Cluster.HTTPSListenPort))
		if !serverLine.Match(data) {
			return errors.New("the kubeconfig has no line \"server: https://…\"")
		}
		data = serverLine.ReplaceAll(data, []byte("${1} "+strings.ReplaceAll(api, "$", "$$")))
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(bytes.TrimLeft(data, "\n"))
	return nil
}

// dialled returns the host of a request's authority: a name or an address, nothing that could be more than that.
func dialled(authority string) (host string, ok bool) {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.WithZone("").String(), true
	}
	return host, hostPattern.MatchString(host)
}
