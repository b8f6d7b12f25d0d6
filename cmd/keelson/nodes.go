package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

// nodeFlags are the flags of every verb that talks to nodes.
type nodeFlags struct {
	nodes   []string
	context string
	output  string // "table", "json" or "yaml"
}

// add defines the flags; output says whether the verb has -o.
func (f *nodeFlags) add(cmd *cobra.Command, output bool) {
	cmd.Flags().StringSliceVarP(&f.nodes, "node", "n", nil, "`NODE` to talk to, HOST[:PORT]; repeat it, or separate several by commas (default: the context's)")
	cmd.Flags().StringVar(&f.context, "context", "", "context `NAME` to take (\"keelson context list\"), or an image that \"keelson run\" started (default: the current context, else the machine that \"keelson run\" started last)")
	cmd.RegisterFlagCompletionFunc("node", completeNodes)
	cmd.RegisterFlagCompletionFunc("context", completeContexts)
	f.output = outputTable
	if output {
		addOutput(cmd, &f.output)
	}
}

// target is a cluster whose nodes can be talked to.
type target struct {
	access
	what string // for people: where it comes from
	dir  string // what its paths are relative to
}

// errNoTarget says that nobody can tell whom to talk to.
var errNoTarget = errors.New("no node is known: add a context (keelson context add NAME --dir FOLDER --node ADDRESS), start a machine (keelson run IMAGE), or say -n ADDRESS beside a cluster's folder")

// target finds the cluster that is meant.
func (f *nodeFlags) target() (*target, error) {
	c, err := loadContexts()
	if err != nil {
		return nil, err
	}
	if name := cmp.Or(f.context, c.Current); name != "" {
		if a, ok := c.Contexts[name]; ok {
			return &target{*a, fmt.Sprintf("context %q", name), filepath.Dir(c.path)}, nil
		}
		if f.context == "" {
			return nil, fmt.Errorf("%s: the current context %q is not in it: keelson context use NAME", c.path, name)
		}
		path := filepath.Join(machineDir(name), machineJSONFile)
		if _, err := os.Stat(path); err == nil {
			return machineTarget(path)
		}
		return nil, fmt.Errorf("%w, and no machine of that name that \"keelson run\" started", c.unknown(name))
	}
	var last *target
	if path := lastMachine("."); path != "" {
		if last, err = machineTarget(path); err != nil {
			return nil, err
		}
		if known := func(name string) bool { return last.find(name) != "" }; !slices.ContainsFunc(f.nodes, func(n string) bool { return !known(n) }) {
			return last, nil
		}
	}
	if found, _ := filepath.Glob(filepath.Join("*", clientCertFile)); len(found) == 1 && len(f.nodes) > 0 {
		dir := filepath.Dir(found[0])
		a, err := folderAccess(dir)
		if err != nil {
			return nil, err
		}
		return &target{*a, "folder " + dir, dir}, nil
	}
	if last == nil {
		return nil, errNoTarget
	}
	return last, nil
}

// lastMachine finds the machine.json of the machine that "keelson run" started last in a directory; "" when there is none.
func lastMachine(dir string) string {
	found, _ := filepath.Glob(filepath.Join(dir, "*"+machineSuffix, machineJSONFile))
	return newest(found)
}

// newest returns the file that was written last.
func newest(paths []string) (found string) {
	var at time.Time
	for _, path := range paths {
		if st, err := os.Stat(path); err == nil && st.ModTime().After(at) {
			found, at = path, st.ModTime()
		}
	}
	return found
}

// machineTarget reads a machine.json.
func machineTarget(path string) (*target, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	t := &target{what: "machine of " + strings.TrimSuffix(filepath.Base(dir), machineSuffix), dir: dir}
	if err := json.Unmarshal(data, &t.access); err != nil {
		return nil, fmt.Errorf("%s: %w; \"keelson run\" writes it anew", path, err)
	}
	return t, nil
}

// hostOf returns the host of an address as people write it; "" if it is none.
func hostOf(address string) string {
	full, err := machine.WithPort(address)
	if err != nil {
		return ""
	}
	host, _, _ := net.SplitHostPort(full)
	return host
}

// find returns the node of the context that name means: the same host, and the same port if name has one. It returns "" if there is none.
func (t *target) find(name string) string {
	full, err := machine.WithPort(name)
	if err != nil {
		return ""
	}
	_, _, bare := net.SplitHostPort(name)
	for _, have := range t.Nodes {
		if with, err := machine.WithPort(have); err == nil && (with == full || bare != nil && hostOf(have) == hostOf(name)) {
			return have
		}
	}
	return ""
}

// shortAddress leaves the usual port out.
func shortAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(machine.Port) {
		return address
	}
	return host
}

// node is one node to talk to.
type node struct {
	*machine.Client
	name   string // as people write it
	target *target
}

// open returns the nodes that are meant; none was dialled yet. A verb that changes something takes several only by -n.
func (f *nodeFlags) open(changes bool) ([]*node, error) {
	if err := checkOutput(f.output); err != nil {
		return nil, err
	}
	for _, name := range f.nodes {
		if hostOf(name) == "" {
			return nil, fmt.Errorf("-n: found %q, expected a host name or an IP address, with or without a port", name)
		}
	}
	t, err := f.target()
	if err != nil {
		return nil, err
	}
	names := f.nodes
	switch {
	case len(names) > 0:
	case len(t.Nodes) == 0:
		return nil, fmt.Errorf("%s has no nodes: say which with -n ADDRESS", t.what)
	case changes && len(t.Nodes) > 1:
		return nil, fmt.Errorf("%s has several nodes, and this changes them: say which with -n (all: -n %s)", t.what, strings.Join(t.Nodes, ","))
	default:
		names = t.Nodes
	}
	return t.dial(names)
}

// one is open for verbs that take a single node.
func (f *nodeFlags) one() (*node, error) {
	nodes, err := f.open(true)
	if err != nil {
		return nil, err
	}
	if len(nodes) > 1 {
		return nil, fmt.Errorf("found %d nodes, expected one: say which with -n", len(nodes))
	}
	return nodes[0], nil
}

// dial makes the nodes' clients. What is wrong with the credentials is said here, before any node is asked.
func (t *target) dial(names []string) ([]*node, error) {
	var c machine.Config
	for _, x := range []struct {
		what, value string
		into        *[]byte
	}{{"ca", t.CA, &c.CA}, {"cert", t.Cert, &c.Cert}, {"key", t.Key, &c.Key}} {
		var err error
		if *x.into, err = pemOf(x.what, x.value, t.dir); err != nil {
			return nil, fmt.Errorf("%s: %w", t.what, err)
		}
	}
	if err := checkClient(c, time.Now()); err != nil {
		return nil, fmt.Errorf("%s: %w", t.what, err)
	}
	var nodes []*node
	seen := map[string]bool{}
	for _, name := range names {
		c.Address = cmp.Or(t.find(name), name)
		client, err := machine.Dial(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.what, err)
		}
		if seen[client.Address()] {
			continue
		}
		seen[client.Address()] = true
		nodes = append(nodes, &node{client, shortAddress(client.Address()), t})
	}
	return nodes, nil
}

// anotherClient says how to get another client certificate.
const anotherClient = "make another one where the cluster's secrets.yaml is: keelson config client NAME --dir CLUSTER --role admin --out FOLDER"

// checkClient finds what a node would refuse with no more than a TLS alert.
func checkClient(c machine.Config, now time.Time) error {
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		return fmt.Errorf("client certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Errorf("client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return errors.New("machine CA: no certificate in it, expected PEM text")
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("the client certificate %q expired on %s: %s", leaf.Subject.CommonName, leaf.NotAfter.Format(time.DateOnly), anotherClient)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: leaf.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	var foreign x509.UnknownAuthorityError
	switch {
	case errors.As(err, &foreign):
		return fmt.Errorf("the client certificate %q is of another cluster: it is not signed by this machine CA; take ca, cert and key from one folder", leaf.Subject.CommonName)
	case err != nil:
		return fmt.Errorf("the client certificate %q cannot be used: %w; %s", leaf.Subject.CommonName, err, anotherClient)
	}
	return nil
}
