package main

import (
	"github.com/keelson-os/keelson/cluster/layout"
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

// kubectl runs upstream's kubectl and returns its exit status. Without a kubeconfig of
// the user's, it takes the administrator's of this node.
func kubectl() int {
	if os.Getenv("KUBECONFIG") == "" {
		if file := layout.Default().Kubeconfig(); readable(file) {
			if err := os.Setenv("KUBECONFIG", file); err != nil {
				return 1
			}
		}
	}
	return cli.Run(cmd.NewDefaultKubectlCommand())
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	return f.Close() == nil
}
