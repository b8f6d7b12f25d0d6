package storage

import (
	"errors"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func classOf(parameters map[string]string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "class"}, Provisioner: provisionerName, Parameters: parameters}
}

func claimOf(labels map[string]string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", Labels: labels}}
}

func TestVolumeFolder(t *testing.T) {
	labels := map[string]string{"app": "db", "up": "../../.."}
	claim := claimOf(labels)
	claim.Annotations = map[string]string{"up": ".."}
	for _, c := range []struct{ name, pattern, unsafe, want string }{
		{"upstream's example", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/", "", "ns/data"},
		{"a label", `{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ index .PVC.Labels "app" }}`, "", "ns/data/db"},
		{"the volume", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ .PVName }}", "", "ns/data/pvc-1"},
		{"without the name", "{{ .PVC.Namespace }}/", "", ""},
		{"without a slash", "{{ .PVC.Namespace }}/{{ .PVC.Name }}", "", ""},
		{"a traversal", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/../../..", "", ""},
		{"a traversal by label", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ .PVC.Labels.up }}", "", ""},
		{"a step up by annotation", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ .PVC.Annotations.up }}", "", ""},
		{"a NUL", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/\x00", "", ""},
		{"no template", "{{ .PVC", "", ""},
		{"an unknown field", "{{ .Node }}", "", ""},
		{"without end", "{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ range 1000000000 }}x{{ end }}", "", ""},
		{"any name", "{{ .PVC.Name }}", "true", "data"},
		{"any name, absolute", "/{{ .PVC.Name }}/x", "true", "data/x"},
		{"any name, the base itself", "{{ .PVC.Name }}/..", "true", ""},
		{"any name, outside", "../{{ .PVC.Name }}", "true", ""},
		{"any name, no boolean", "{{ .PVC.Name }}", "sure", ""},
	} {
		p := map[string]string{parameterPattern: c.pattern}
		if c.unsafe != "" {
			p[allowUnsafe] = c.unsafe
		}
		got, err := volumeFolder(classOf(p), claim, "pvc-1")
		if got != c.want || (c.want == "") != errors.As(err, new(refusal)) {
			t.Errorf("%s: volumeFolder = %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	if got, err := volumeFolder(classOf(nil), claimOf(nil), "pvc-1"); got != "pvc-1_ns_data" || err != nil {
		t.Errorf("volumeFolder without a pattern = %q, %v, want pvc-1_ns_data", got, err)
	}
}

func TestAnyFolderByAnnotation(t *testing.T) {
	class := classOf(map[string]string{parameterPattern: "x"})
	class.Annotations = map[string]string{allowUnsafe: "true"}
	if !anyFolder(class) {
		t.Error("anyFolder with the annotation = false, want true")
	}
	if anyFolder(nil) || anyFolder(classOf(map[string]string{allowUnsafe: "true"})) {
		t.Error("anyFolder without a class or a pattern = true, want false")
	}
}

// What a pattern makes is inside the base, and the volume can be removed again.
func FuzzVolumeFolder(f *testing.F) {
	f.Add("{{ .PVC.Namespace }}/{{ .PVC.Name }}/", "x", false)
	f.Add("{{ .PVC.Namespace }}/{{ .PVC.Name }}/{{ .PVC.Labels.x }}", "../..", false)
	f.Add("{{ .PVC.Labels.x }}", "/a//b/./c", true)
	f.Fuzz(func(t *testing.T, pattern, label string, unsafe bool) {
		if len(pattern) > 200 {
			return // no loops over long ranges
		}
		p := map[string]string{parameterPattern: pattern}
		if unsafe {
			p[allowUnsafe] = "true"
		}
		class, claim := classOf(p), claimOf(map[string]string{"x": label})
		below, err := volumeFolder(class, claim, "pvc-1")
		if err != nil {
			return
		}
		ref := &corev1.ObjectReference{Namespace: claim.Namespace, Name: claim.Name}
		base, got, err := locate([]string{"/base"}, filepath.Join("/base", below), "pvc-1", ref, anyFolder(class))
		if base != "/base" || got != below || err != nil {
			t.Errorf("locate of %q = %q, %q, %v, want /base and the same", below, base, got, err)
		}
	})
}
