package imagebuilder

import (
	"debug/buildinfo"
	"path/filepath"
)

// kubernetesModule is the module whose version is that of Kubernetes.
const kubernetesModule = "k8s.io/kubernetes"

// kubernetesVersion returns the version of Kubernetes in the node's program, "v1.37.2"; "" for a program without it, which only tests have.
func (b *builder) kubernetesVersion() (string, error) {
	info, err := buildinfo.ReadFile(filepath.Join(b.opts.Programs, "node"))
	if err != nil {
		return "", err // names the file
	}
	for _, d := range info.Deps {
		if d.Path == kubernetesModule {
			if d.Replace != nil && d.Replace.Version != "" {
				d = d.Replace
			}
			return d.Version, nil
		}
	}
	return "", nil
}
