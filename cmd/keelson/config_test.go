package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keelson runs the program with its arguments and returns what it printed.
func keelson(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs strings.Builder
	err = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), err
}

func TestConfigNewThenValidate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "homelab")
	out, _, err := keelson(t, "config", "new", dir, "--hostname", "kitchen-pi")
	if err != nil || !strings.Contains(out, filepath.Join(dir, "kubeconfig")) {
		t.Fatalf("config new = %q, %v", out, err)
	}
	if _, _, err := keelson(t, "config", "new", dir); err == nil || !strings.Contains(err.Error(), "already there") {
		t.Errorf("config new a second time = %v, want a refusal", err)
	}
	server, agent := filepath.Join(dir, "server.yaml"), filepath.Join(dir, "agent.yaml")
	out, _, err = keelson(t, "config", "validate", server, agent)
	if err != nil || !strings.Contains(out, server+": OK\n") || !strings.Contains(out, agent+": OK (") {
		t.Errorf("config validate = %q, %v", out, err)
	}
	text, err := os.ReadFile(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server, []byte(strings.Replace(string(text), "hostname:", "hostnme:", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, err := keelson(t, "config", "validate", agent, server, filepath.Join(dir, "gone.yaml"))
	var shown *shownError
	if !errors.As(err, &shown) || !strings.Contains(out, agent+": OK") {
		t.Errorf("config validate = %q, %v, want the agent's OK and a shown error", out, err)
	}
	for _, want := range []string{`server.yaml:9:1: hostnme: unknown key; did you mean "hostname"?`, "gone.yaml: no such file"} {
		if !strings.Contains(errs, want) {
			t.Errorf("config validate says %q, want %q", errs, want)
		}
	}
}
