package metrics

import (
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStripKeepsWhatAnswersNeed(t *testing.T) {
	got, err := strip(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name: "web", Namespace: "shop", ResourceVersion: "7", Labels: map[string]string{"app": "web"},
		Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		OwnerReferences: []metav1.OwnerReference{{Name: "web"}}, Finalizers: []string{"f"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", ResourceVersion: "7", Labels: map[string]string{"app": "web"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("strip = %+v, want %+v", got, want)
	}
}
