package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/keelson-os/keelson/cluster/layout"
)

// ctr runs containerd's ctr and returns its exit status. It talks to the node's
// containerd and shows Kubernetes' images and containers, unless told otherwise.
func ctr(args []string) int {
	for name, value := range map[string]string{
		"CONTAINERD_ADDRESS":   layout.Default().ContainerdSocket(),
		"CONTAINERD_NAMESPACE": "k8s.io",
	} {
		if os.Getenv(name) == "" {
			if err := os.Setenv(name, value); err != nil {
				fmt.Fprintln(os.Stderr, "ctr:", err)
				return 1
			}
		}
	}
	if err := app.New().Run(context.Background(), args); err != nil {
		fmt.Fprintln(os.Stderr, "ctr:", err)
		return 1
	}
	return 0
}
