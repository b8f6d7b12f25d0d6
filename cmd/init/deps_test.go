package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPID1StaysSmall bans what would make PID 1 large, or tie it to what it supervises.
func TestPID1StaysSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	banned := map[string]string{
		"net/http":                                   "2 MB of program, and PID 1 serves nothing by HTTP",
		"github.com/spf13/cobra":                     "PID 1 has no commands",
		"k8s.io/":                                    "Kubernetes is the node's",
		"github.com/containerd/":                     "containers are the node's",
		"github.com/keelson-os/keelson/cluster":      "init and cluster never import each other",
		"github.com/keelson-os/keelson/imagebuilder": "a node builds no images",
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		for ban, why := range banned {
			if pkg == ban || strings.HasSuffix(ban, "/") && strings.HasPrefix(pkg, ban) || strings.HasPrefix(pkg, ban+"/") {
				t.Errorf("imports %s: %s", pkg, why)
			}
		}
	}
}
