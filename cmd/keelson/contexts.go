package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// contextVariable names the context file in place of the usual one.
const contextVariable = "KEELSON_CONTEXT_FILE"

// access is how a cluster's nodes are reached by the machine API: a context of the context file, or the machine.json that "keelson
// run" writes.
type access struct {
	// Nodes are addresses, HOST or HOST:PORT, asked where no -n says others.
	Nodes []string `yaml:"nodes,flow" json:"nodes"`
	// CA, Cert and Key are PEM texts or paths of files that hold one, relative to the folder of the file that says so.
	CA   string `yaml:"ca" json:"ca"`
	Cert string `yaml:"cert" json:"cert"`
	Key  string `yaml:"key" json:"key"`
}

// contexts is the context file.
type contexts struct {
	Current  string             `yaml:"current,omitempty"`
	Contexts map[string]*access `yaml:"contexts"`

	path string
}

// contextPath is where the context file is, whether or not it is there.
func contextPath() (string, error) {
	if path := os.Getenv(contextVariable); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the context file: %w; say where it is with %s", err, contextVariable)
	}
	return filepath.Join(dir, "keelson", "contexts.yaml"), nil
}

// loadContexts reads the context file. One that is not there has no contexts.
func loadContexts() (*contexts, error) {
	path, err := contextPath()
	if err != nil {
		return nil, err
	}
	c := &contexts{path: path}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for name, a := range c.Contexts {
		if a == nil {
			return nil, fmt.Errorf("%s: context %q is empty: want nodes, ca, cert and key", path, name)
		}
	}
	if c.Contexts == nil {
		c.Contexts = map[string]*access{}
	}
	return c, nil
}

// save writes the context file, 0600, in one step.
func (c *contexts) save() error {
	var text bytes.Buffer
	text.WriteString("# Whom \"keelson status\" and the other verbs for nodes talk to; \"keelson context\" changes this file.\n")
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(c), e.Close()); err != nil {
		return err
	}
	return replaceFile(c.path, text.Bytes())
}

// replaceFile writes a file of mode 0600 in one step, and its folder if there is none.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// pemOf returns the PEM text that a value of an access is, or whose path, relative to dir, it is.
func pemOf(what, value, dir string) ([]byte, error) {
	if strings.Contains(value, "-----BEGIN ") {
		return []byte(value), nil
	}
	if value == "" {
		return nil, fmt.Errorf("%s: is missing: want PEM text or the path of a file", what)
	}
	if !filepath.IsAbs(value) {
		value = filepath.Join(dir, value)
	}
	data, err := os.ReadFile(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return data, nil
}

// The files of a cluster's folder that give access to its nodes.
const (
	machineCAFile   = "machine-ca.crt"
	clientCertFile  = "client.crt"
	clientKeyFile   = "client.key"
	clusterSecrets  = "secrets.yaml"
	clusterServer   = "server.yaml"
	machineJSONFile = "machine.json"
)

// folderAccess is the access that a cluster's folder gives, without nodes: the folder that "keelson config new" or "keelson config
// client" has made. Its paths are absolute.
func folderAccess(dir string) (*access, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	a := &access{Cert: filepath.Join(dir, clientCertFile), Key: filepath.Join(dir, clientKeyFile), CA: filepath.Join(dir, machineCAFile)}
	for _, path := range []string{a.Cert, a.Key} {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w; want the folder that \"keelson config new\" or \"keelson config client\" has made", err)
		}
	}
	if _, err := os.Stat(a.CA); errors.Is(err, fs.ErrNotExist) {
		// A folder that an older keelson made.
		if a.CA, err = machineCAOf(filepath.Join(dir, clusterSecrets)); err != nil {
			return nil, fmt.Errorf("%s is missing, and so is what it could be made of: %w", filepath.Join(dir, machineCAFile), err)
		}
	} else if err != nil {
		return nil, err
	}
	return a, nil
}

// machineCAOf reads the machine CA's certificate in secrets.yaml.
func machineCAOf(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var s struct {
		MachineCA struct {
			Cert string `yaml:"cert"`
		} `yaml:"machine-ca"`
	}
	if err := yaml.Unmarshal(data, &s); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if s.MachineCA.Cert == "" {
		return "", fmt.Errorf("%s: it has no machine-ca", path)
	}
	return s.MachineCA.Cert, nil
}

// kubeconfigHost is the host of the API server in a kubeconfig; "" when it cannot be told.
func kubeconfigHost(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var k struct {
		Clusters []struct {
			Cluster struct {
				Server string `yaml:"server"`
			} `yaml:"cluster"`
		} `yaml:"clusters"`
	}
	if yaml.Unmarshal(data, &k) != nil || len(k.Clusters) == 0 {
		return ""
	}
	host, ok := strings.CutPrefix(k.Clusters[0].Cluster.Server, "https://")
	if !ok {
		return ""
	}
	host, _, _ = strings.Cut(host, "/")
	return cmp.Or(hostOf(host), host)
}
