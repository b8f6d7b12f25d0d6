package scenario

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/harness"
)

// verbsThatLook runs each verb that changes nothing on a node, and reads a support archive for the cluster's secrets.
func verbsThatLook(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	for _, name := range []string{"status", "services", "ps", "disks", "network", "time", "certificates", "events", "version"} {
		for format, valid := range map[string]func(string) bool{
			"json":  validJSON,
			"yaml":  func(s string) bool { var v any; return yaml.Unmarshal([]byte(s), &v) == nil && v != nil },
			"table": func(s string) bool { return strings.Count(s, "\n") > 1 },
		} {
			if out := verb(t, ctx, n, name, "-o", format); !valid(out) {
				t.Errorf("%s -o %s: %q", name, format, out)
			}
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"dmesg"}, "Linux version"},
		{[]string{"logs", "init"}, "Keelson " + n.Lab.Info.Version},
		{[]string{"logs", "machined"}, "machine API"},
		{[]string{"logs", "node"}, "node"},
		{[]string{"kubeconfig"}, "clusters:"},
		{[]string{"config", "get"}, "cluster:"},
	} {
		if out := verb(t, ctx, n, c.args...); !strings.Contains(out, c.want) {
			t.Errorf("%q has no %q:\n%.1000s", c.args, c.want, out)
		}
	}

	file := filepath.Join(n.Lab.Dir, "support.tar.gz")
	verb(t, ctx, n, "support", "--out", file)
	files, err := unpacked(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"status.json", "config.yaml", "dmesg.txt", "logs/node.log", "kubernetes/nodes"} {
		found := false
		for path := range files {
			found = found || strings.Contains(path, name)
		}
		if !found {
			t.Errorf("the support archive has no %s", name)
		}
	}
	secrets := secretsOf(t, n.Lab)
	if len(secrets) < 5 {
		t.Fatalf("the cluster has %d secrets, want its token and its CAs' keys", len(secrets))
	}
	for path, text := range files {
		for name, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s in the support archive has the secret %s", path, name)
			}
		}
	}
	t.Logf("the support archive has %d files and none of %d secrets", len(files), len(secrets))
}

// validJSON accepts a value, or several, a line each, as streams have them.
func validJSON(text string) bool {
	d := json.NewDecoder(strings.NewReader(text))
	for n := 0; ; n++ {
		var v any
		if err := d.Decode(&v); err != nil {
			return errors.Is(err, io.EOF) && n > 0
		}
	}
}

// unpacked reads a tar.gz: file names and contents.
func unpacked(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		files[h.Name] = string(b)
	}
}

// secretsOf are the secrets of a cluster, by their place in secrets.yaml: of a key a line from its middle.
func secretsOf(t *testing.T, l *harness.Lab) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.Cluster, "secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(name+"."+k, x)
			}
		case []any:
			for i, x := range v {
				walk(fmt.Sprintf("%s[%d]", name, i), x)
			}
		case string:
			lines := strings.Split(strings.TrimSpace(v), "\n")
			if line := lines[len(lines)/2]; !strings.Contains(v, "CERTIFICATE") && !strings.Contains(v, "PUBLIC KEY") && len(line) >= 16 {
				out[name] = line
			}
		}
	}
	walk("", v)
	return out
}

// renewed has all certificates issued anew. The node's process restarts with them, and the cluster's kubeconfig opens it as before.
func renewed(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	t.Logf("%s", verb(t, ctx, n, "certificates"))
	before := verb(t, ctx, n, "certificates", "-o", "json")
	t.Logf("%s", verb(t, ctx, n, "certificates", "renew"))
	awaitStatus(t, ctx, n, bootLimit, "the node with new certificates", func(s machine.Status) error {
		if _, err := n.Kubectl(ctx, "get", "nodes"); err != nil || !s.Health.OK {
			return fmt.Errorf("health %+v, %w", s.Health, err)
		}
		if after, err := n.Keelson(ctx, "certificates", "-o", "json"); err != nil || after == before {
			return fmt.Errorf("the certificates are those of before, %w", err)
		}
		return nil
	})
}
