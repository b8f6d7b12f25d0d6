package storage

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestLocate(t *testing.T) {
	bases := []string{"/data", "/data/ssd", "/var/lib/rancher/k3s/storage"}
	claim := &corev1.ObjectReference{Namespace: "ns", Name: "data"}
	for _, c := range []struct {
		name, path, base, below string
		claim                   *corev1.ObjectReference
		anyName                 bool
	}{
		{"a volume", "/data/pvc-1_ns_data", "/data", "pvc-1_ns_data", claim, false},
		{"a volume in an inner base", "/data/ssd/pvc-1_ns_data", "/data/ssd", "pvc-1_ns_data", claim, false},
		{"a retained volume of a former claim", "/data/pvc-1_old_name", "/data", "pvc-1_old_name", claim, false},
		{"a volume without a claim", "/data/pvc-1_ns_data", "/data", "pvc-1_ns_data", nil, false},
		{"a pattern's volume", "/data/ns/data", "/data", "ns/data", claim, false},
		{"a pattern's deeper volume", "/data/ns/data/x", "/data", "ns/data/x", claim, false},
		{"a name of the user's own", "/data/x", "/data", "x", claim, true},

		{"the base", "/data", "", "", claim, true},
		{"the root", "/", "", "", claim, true},
		{"nothing", "", "", "", claim, true},
		{"a folder of the system", "/var/lib", "", "", claim, true},
		{"beside the base", "/data2/pvc-1_ns_data", "", "", claim, true},
		{"a traversal", "/data/../etc", "", "", claim, true},
		{"a traversal after the name", "/data/pvc-1_ns_data/../../etc", "", "", claim, true},
		{"a trailing slash", "/data/pvc-1_ns_data/", "", "", claim, true},
		{"a relative path", "data/pvc-1_ns_data", "", "", claim, true},
		{"a NUL", "/data/pvc-1_ns_data\x00", "", "", claim, true},
		{"another volume", "/data/pvc-2_ns_data", "", "", claim, false},
		{"a volume whose name begins alike", "/data/pvc-10_ns_data", "", "", claim, false},
		{"another claim's folder", "/data/ns/other", "", "", claim, false},
		{"a claim's folder whose name begins alike", "/data/ns/database", "", "", claim, false},
		{"a namespace's folder", "/data/ns", "", "", claim, false},
		{"inside another volume", "/data/pvc-2_ns_data/x", "", "", claim, false},
		{"inside the volume", "/data/pvc-1_ns_data/x", "", "", claim, false},
		{"a pattern's volume without a claim", "/data/ns/data", "", "", nil, false},
		{"a pattern's volume with an empty claim", "/data/ns/data", "", "", &corev1.ObjectReference{}, false},
	} {
		base, below, err := locate(bases, c.path, "pvc-1", c.claim, c.anyName)
		if base != c.base || below != c.below || (c.base == "") != errors.As(err, new(refusal)) {
			t.Errorf("%s: locate(%q) = %q, %q, %v, want %q, %q", c.name, c.path, base, below, err, c.base, c.below)
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("/data/pvc-1_ns_data", "pvc-1", "ns", "data", false)
	f.Add("/data/../etc", "pvc-1", "ns", "data", true)
	f.Add("/data/ns/data/x", "", "ns", "data", false)
	f.Add("//data/./x", "..", "..", "..", true)
	bases := []string{"/data", "/data/ssd", "/var/lib/rancher/k3s/storage"}
	f.Fuzz(func(t *testing.T, path, volume, namespace, name string, anyName bool) {
		base, below, err := locate(bases, path, volume, &corev1.ObjectReference{Namespace: namespace, Name: name}, anyName)
		if err != nil {
			return
		}
		if !slices.Contains(bases, base) || !filepath.IsLocal(below) || below == "." || filepath.Join(base, below) != path || strings.HasPrefix(below, "/") {
			t.Errorf("locate(%q) = %q, %q", path, base, below)
		}
		for _, b := range bases {
			if holds(path, b) {
				t.Errorf("locate(%q) would remove the base %q", path, b)
			}
		}
	})
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		other string
		want  bool
	}{
		{"/data/ns/data", true},
		{"/data/ns/data/", true},
		{"/data/ns/data/inner", true},
		{"/data/ns", true},
		{"/data/ns/data2", false},
		{"/data/ns/dat", false},
		{"/data", false}, // around the base
		{"/", false},
		{"/etc", false},
	} {
		if got := conflicts("/data", "/data/ns/data", c.other); got != c.want {
			t.Errorf("conflicts with %s = %t, want %t", c.other, got, c.want)
		}
	}
}
