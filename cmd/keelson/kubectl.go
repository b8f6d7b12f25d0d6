package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
)

func newKubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl [ARGUMENTS]",
		Short: "Run kubectl, for who has none installed",
		Long: `Runs the kubectl that is part of the node's program, with the same version; where that
program does not run (it is for Linux), the kubectl that is installed. The
kubeconfig is KUBECONFIG's or --kubeconfig's; without either, that of the machine that
"keelson run" started last, else the only */kubeconfig below this directory.`,
		Example: `  keelson kubectl get nodes
  keelson kubectl --kubeconfig homelab/kubeconfig get pods -A`,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			program, err := kubectlProgram()
			if err != nil {
				return err
			}
			env := os.Environ()
			if os.Getenv("KUBECONFIG") == "" {
				if path := defaultKubeconfig("."); path != "" {
					env = append(env, "KUBECONFIG="+path)
				}
			}
			if err := become(program, append([]string{"kubectl"}, args...), env); err != nil {
				return fmt.Errorf("run %s: %w", program, err)
			}
			return nil
		},
	}
}

// kubectlProgram finds a program that is kubectl when it is called so.
func kubectlProgram() (string, error) {
	if runtime.GOOS == "linux" {
		return nodeProgram()
	}
	path, err := exec.LookPath("kubectl")
	if err != nil {
		return "", errors.New("the node's program, which holds kubectl, runs on Linux only, and no other kubectl is installed here: " +
			"install one, see https://kubernetes.io/docs/tasks/tools/")
	}
	return path, nil
}

// nodeProgram finds the program of the node for this computer, beside our own.
func nodeProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	path := filepath.Join(filepath.Dir(self), runtime.GOARCH, "node")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is missing: it holds kubectl; \"make build\" makes it", path)
	} else if err != nil {
		return "", err
	}
	return path, nil
}

// defaultKubeconfig guesses whose cluster is meant in a directory: the machine started
// last, else the only cluster. It returns "" when there is no single answer.
func defaultKubeconfig(dir string) string {
	machines, _ := filepath.Glob(filepath.Join(dir, "*"+machineSuffix, "kubeconfig"))
	if path := newest(machines); path != "" {
		return path
	}
	clusters, _ := filepath.Glob(filepath.Join(dir, "*", "kubeconfig"))
	if len(clusters) == 1 {
		return clusters[0]
	}
	return ""
}
