package storage

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	parameterPattern = "pathPattern"
	// allowUnsafe, as a class's parameter or annotation, lets its pattern make any path
	// below the base. Upstream's even leaves the base; ours never does.
	allowUnsafe = "allowUnsafePathPattern"

	pathMax = 4096 // bytes, Linux' PATH_MAX
)

// volumeFolder returns the path of a claim's volume relative to the base: clean, local, not ".".
func volumeFolder(class *storagev1.StorageClass, claim *corev1.PersistentVolumeClaim, volume string) (string, error) {
	pattern, ok := class.Parameters[parameterPattern]
	if !ok {
		return volume + "_" + claim.Namespace + "_" + claim.Name, nil
	}
	t, err := template.New(parameterPattern).Parse(pattern)
	if err != nil {
		return "", refuse("StorageClass %s: %s: want a Go template: %v", class.Name, parameterPattern, err)
	}
	var out limited
	// By value: the template can read the claim but call no method that changes it.
	if err := t.Execute(&out, struct {
		PVName string
		PVC    metav1.ObjectMeta
	}{volume, claim.ObjectMeta}); err != nil {
		return "", refuse("StorageClass %s: %s %q: %v", class.Name, parameterPattern, pattern, err)
	}
	path, free := out.String(), anyFolder(class)
	if free {
		path = strings.TrimLeft(path, "/")
	}
	clean := filepath.Clean(path)
	if clean == "." || !filepath.IsLocal(path) || strings.ContainsRune(path, 0) || slices.Contains(strings.Split(path, "/"), "..") {
		return "", refuse("StorageClass %s: %s %q gives %q: want a path inside the storage folder, without \"..\"", class.Name, parameterPattern, pattern, path)
	}
	if want := claim.Namespace + "/" + claim.Name + "/"; !free && !strings.HasPrefix(path, want) {
		return "", refuse("StorageClass %s: %s %q gives %q: want a path that begins with {{ .PVC.Namespace }}/{{ .PVC.Name }}/, here %q", class.Name, parameterPattern, pattern, path, want)
	}
	return clean, nil
}

// anyFolder says whether the class's pattern may make folders of any name.
func anyFolder(class *storagev1.StorageClass) bool {
	if class == nil || class.Parameters[parameterPattern] == "" {
		return false
	}
	v, ok := class.Parameters[allowUnsafe]
	if !ok {
		v = class.Annotations[allowUnsafe]
	}
	yes, err := strconv.ParseBool(v)
	return err == nil && yes
}

// limited is a buffer for a path: a template can write without end.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > pathMax {
		return 0, fmt.Errorf("gives more than %d bytes", pathMax)
	}
	return l.Builder.Write(p)
}
