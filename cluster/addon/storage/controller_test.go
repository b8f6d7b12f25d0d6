package storage

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const here = "node-1"

// world is a node that runs Run against a fake API server.
type world struct {
	*testing.T
	ctx    context.Context
	client *fake.Clientset
	base   string
}

// newWorld starts Run with objects in the API and waits until it watches.
func newWorld(t *testing.T, objects ...runtime.Object) world {
	t.Helper()
	wait := storagev1.VolumeBindingWaitForFirstConsumer
	retain := corev1.PersistentVolumeReclaimRetain
	packaged := classOf(nil)
	packaged.Name, packaged.VolumeBindingMode = "local-path", &wait
	packaged.Annotations = map[string]string{annotationDefaultVolumeType: "local"}
	kept := packaged.DeepCopy()
	kept.Name, kept.ReclaimPolicy, kept.Annotations = "kept", &retain, nil
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: here, Labels: map[string]string{corev1.LabelHostname: "host-1"}}}

	w := world{T: t, client: fake.NewClientset(append(objects, packaged, kept, node)...), base: filepath.Join(t.TempDir(), "storage")}
	watches := make(chan struct{}, 16)
	w.client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		i, err := w.client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		watches <- struct{}{}
		return true, i, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	w.ctx = ctx
	done := make(chan error)
	go func() {
		done <- Run(ctx, Options{
			NodeName: here, Path: w.base, Client: w.client,
			Factory: informers.NewSharedInformerFactory(w.client, 0), Log: slog.New(slog.DiscardHandler),
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil after its context ended", err)
		}
	})
	for range 4 { // claims, volumes, classes, the ConfigMap
		select {
		case <-watches:
		case <-time.After(10 * time.Second):
			t.Fatal("Run does not watch")
		}
	}
	return w
}

func (w world) eventually(what string, try func() error) {
	w.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	w.Fatalf("%s: %v", what, err)
}

// said waits for an event.
func (w world) said(kind, name, reason string, parts ...string) {
	w.Helper()
	w.eventually("event "+reason+" on "+name, func() error {
		list, err := w.client.CoreV1().Events("").List(w.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var texts []string
		for _, e := range list.Items {
			if e.InvolvedObject.Kind != kind || e.InvolvedObject.Name != name {
				continue
			}
			texts = append(texts, e.Reason+": "+e.Message)
			if e.Reason == reason && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(e.Message, p) }) {
				return nil
			}
		}
		return fmt.Errorf("events are %q, want %q", texts, parts)
	})
}

// claim creates one that the scheduler has sent to node.
func (w world) claim(name, class, node string, change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	w.Helper()
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name, UID: types.UID("uid-" + name),
			Annotations: map[string]string{annotationProvisioner: provisionerName, annotationSelectedNode: node},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if change != nil {
		change(c)
	}
	if _, err := w.client.CoreV1().PersistentVolumeClaims("ns").Create(w.ctx, c, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	return c
}

func (w world) volume(name string) *corev1.PersistentVolume {
	w.Helper()
	var pv *corev1.PersistentVolume
	w.eventually("PersistentVolume "+name, func() (err error) {
		pv, err = w.client.CoreV1().PersistentVolumes().Get(w.ctx, name, metav1.GetOptions{})
		return err
	})
	return pv
}

// release does what the persistent volume controller does when the claim is gone.
func (w world) release(pv *corev1.PersistentVolume) {
	w.Helper()
	pv.Status.Phase = corev1.VolumeReleased
	if _, err := w.client.CoreV1().PersistentVolumes().UpdateStatus(w.ctx, pv, metav1.UpdateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w world) gone(name string) {
	w.Helper()
	w.eventually("removal of "+name, func() error {
		_, err := w.client.CoreV1().PersistentVolumes().Get(w.ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %v", err)
	})
}

// create puts a volume into the API that nobody made.
func (w world) create(name, path string, change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	w.Helper()
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationProvisionedBy: provisionerName, annotationNode: here}},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete, StorageClassName: "local-path",
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}},
			ClaimRef:               &corev1.ObjectReference{Namespace: "ns", Name: "data"},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeReleased},
	}
	if change != nil {
		change(pv)
	}
	if _, err := w.client.CoreV1().PersistentVolumes().Create(w.ctx, pv, metav1.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	return pv
}

func TestClaimGetsAVolumeAndItsRemovalTakesTheFolder(t *testing.T) {
	w := newWorld(t)
	w.claim("data", "local-path", here, nil)
	pv := w.volume("pvc-uid-data")
	path := filepath.Join(w.base, "pvc-uid-data_ns_data")
	if pv.Spec.Local == nil || pv.Spec.Local.Path != path || pv.Spec.HostPath != nil {
		t.Errorf("source = %+v, want local at %s", pv.Spec.PersistentVolumeSource, path)
	}
	if mode(t, path) != 0o777 || mode(t, w.base) != 0o700 {
		t.Errorf("modes = %o in %o, want 777 in 700", mode(t, path), mode(t, w.base))
	}
	if hostname(pv) != "host-1" || pv.Annotations[annotationNode] != here || pv.Annotations[annotationProvisionedBy] != provisionerName {
		t.Errorf("affinity to %q, annotations %v", hostname(pv), pv.Annotations)
	}
	if r := pv.Spec.ClaimRef; r == nil || r.UID != "uid-data" || r.Namespace != "ns" || r.Name != "data" || pv.Spec.StorageClassName != "local-path" ||
		pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || !pv.Spec.Capacity.Storage().Equal(resource.MustParse("1Gi")) {
		t.Errorf("spec = %+v", pv.Spec)
	}
	w.said("PersistentVolumeClaim", "data", "Provisioning")
	w.said("PersistentVolumeClaim", "data", "ProvisioningSucceeded", "pvc-uid-data")

	write(t, path, "file")
	w.release(pv)
	w.gone(pv.Name)
	if exists(path) || !exists(w.base) {
		t.Error("want the folder gone and the base there")
	}
}

func TestRetainedVolumeStays(t *testing.T) {
	w := newWorld(t)
	w.claim("data", "kept", here, nil)
	pv := w.volume("pvc-uid-data")
	if pv.Spec.HostPath == nil || *pv.Spec.HostPath.Type != corev1.HostPathDirectoryOrCreate {
		t.Errorf("source = %+v, want hostPath DirectoryOrCreate without an annotation", pv.Spec.PersistentVolumeSource)
	}
	file := write(t, folder(pv), "file")
	w.release(pv)
	// One that comes later and goes shows that the first was seen.
	w.claim("other", "local-path", here, nil)
	other := w.volume("pvc-uid-other")
	w.release(other)
	w.gone(other.Name)
	w.volume(pv.Name)
	if !exists(file) {
		t.Error("the retained file is gone")
	}
}

func TestWhatIsAnothersIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.claim("elsewhere", "local-path", "node-2", nil)
	w.claim("unscheduled", "local-path", "", nil)
	w.claim("foreign", "local-path", here, func(c *corev1.PersistentVolumeClaim) { c.Annotations[annotationProvisioner] = "x" })
	w.claim("bound", "local-path", here, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" })
	folders := map[string]func(*corev1.PersistentVolume){
		"node":        func(pv *corev1.PersistentVolume) { pv.Annotations[annotationNode] = "node-2" },
		"provisioner": func(pv *corev1.PersistentVolume) { pv.Annotations[annotationProvisionedBy] = "x" },
		"static":      func(pv *corev1.PersistentVolume) { pv.Annotations = nil },
		"inuse":       func(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeBound },
		"terminating": func(pv *corev1.PersistentVolume) { pv.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} },
		"affinity": func(pv *corev1.PersistentVolume) {
			delete(pv.Annotations, annotationNode)
			pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"node-2"}}},
			}}}}
		},
	}
	for name, change := range folders {
		w.create(name, mkdir(t, w.base, name+"_ns_data"), change)
	}
	w.claim("last", "local-path", here, nil)
	last := w.volume("pvc-uid-last")
	w.release(last)
	w.gone(last.Name)
	for name := range folders {
		w.volume(name)
		if !exists(w.base, name+"_ns_data") {
			t.Errorf("the folder of %s is gone", name)
		}
	}
	if list, err := w.client.CoreV1().PersistentVolumes().List(w.ctx, metav1.ListOptions{}); err != nil || len(list.Items) != len(folders) {
		t.Errorf("%d volumes, %v, want %d", len(list.Items), err, len(folders))
	}
}

func TestClaimsThatAFolderCannotServeAreRefused(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	for name, c := range map[string]struct {
		change func(*corev1.PersistentVolumeClaim)
		want   string
	}{
		"many":     {func(c *corev1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = corev1.ReadWriteMany }, "ReadWriteMany"},
		"block":    {func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block }, "block"},
		"selector": {func(c *corev1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} }, "Selector"},
		"type":     {func(c *corev1.PersistentVolumeClaim) { c.Annotations[annotationVolumeType] = "tape" }, "tape"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.claim(name, "local-path", here, c.change)
			w.said("PersistentVolumeClaim", name, "ProvisioningFailed", c.want)
			if exists(w.base) {
				t.Error("a folder was made")
			}
		})
	}
}

func TestForgedVolumesAreRefused(t *testing.T) {
	w := newWorld(t)
	outside := t.TempDir()
	kept := []string{write(t, outside, "file"), write(t, mkdir(t, w.base, "pvc-victim_ns_data"), "file")}
	link(t, outside, w.base, "linked_ns_data")
	link(t, "/", w.base, "ns")
	for name, path := range map[string]string{
		"outside":   outside,
		"root":      "/",
		"system":    "/var/lib",
		"base":      w.base,
		"traversal": w.base + "/traversal_ns_data/../../x",
		"victim":    w.base + "/pvc-victim_ns_data",
		"linked":    w.base + "/linked_ns_data",
		"deep":      w.base + "/ns/data",
		"empty":     "",
	} {
		w.create(name, path, nil)
		w.said("PersistentVolume", name, "VolumeFailedDelete")
		w.volume(name)
	}
	for _, k := range kept {
		if !exists(k) {
			t.Errorf("%s is gone", k)
		}
	}
}

func TestFolderThatAnotherVolumeUsesStays(t *testing.T) {
	w := newWorld(t)
	path := mkdir(t, w.base, "twin_ns_data")
	w.create("user", filepath.Join(path, "inner"), func(pv *corev1.PersistentVolume) {
		pv.Annotations, pv.Status.Phase = nil, corev1.VolumeBound
	})
	w.create("twin", path, nil)
	w.said("PersistentVolume", "twin", "VolumeFailedDelete", "PersistentVolume user uses")
	if !exists(path) {
		t.Error("the folder is gone")
	}
}

func configMap(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: configNamespace, Name: configMapName, UID: "cm"},
		Data:       map[string]string{configKey: text},
	}
}

func TestConfigMapIsFollowedAndABrokenOneRefused(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	text := func(path string) string { return fmt.Sprintf(`{"nodePathMap":[{"node":"node-1","paths":[%q]}]}`, path) }
	w := newWorld(t, configMap(text(first)))
	update := func(cm *corev1.ConfigMap) {
		t.Helper()
		if _, err := w.client.CoreV1().ConfigMaps(configNamespace).Update(w.ctx, cm, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name, base string) *corev1.PersistentVolume {
		t.Helper()
		w.claim(name, "local-path", here, nil)
		pv := w.volume("pvc-uid-" + name)
		if filepath.Dir(folder(pv)) != base {
			t.Errorf("volume is %s, want it in %s", folder(pv), base)
		}
		return pv
	}
	one := in("one", first)

	update(configMap(`{"nodePathMap":[{"node":"node-1","paths":["relative"]}]}`))
	w.said("ConfigMap", configMapName, "InvalidConfig", "relative", "former settings stay")
	in("two", first)

	good := configMap(text(second))
	good.Data["setup"] = "#!/bin/sh"
	update(good)
	w.said("ConfigMap", configMapName, "Ignored", "setup")
	in("three", second)

	// The first folder is no longer a volumes' folder; naming it again is enough.
	w.release(one)
	w.said("PersistentVolume", one.Name, "VolumeFailedDelete", first)
	good.Data[configKey] = fmt.Sprintf(`{"nodePathMap":[{"node":"node-1","paths":[%q]},{"node":"former","paths":[%q]}]}`, second, first)
	update(good)
	w.gone(one.Name)
	if exists(folder(one)) {
		t.Error("the folder is still there")
	}
}

func TestClaimWaitsForABrokenConfigMapToBeMended(t *testing.T) {
	w := newWorld(t, configMap("{"))
	w.claim("data", "local-path", here, nil)
	w.said("PersistentVolumeClaim", "data", "ProvisioningFailed", configMapName)
	base := filepath.Join(t.TempDir(), "mended")
	if _, err := w.client.CoreV1().ConfigMaps(configNamespace).Update(w.ctx, configMap(fmt.Sprintf(`{"sharedFileSystemPath":%q}`, base)), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if pv := w.volume("pvc-uid-data"); filepath.Dir(folder(pv)) != base || pv.Spec.NodeAffinity != nil || pv.Spec.HostPath == nil {
		t.Errorf("volume = %+v, want it in %s, hostPath, without an affinity", pv.Spec, base)
	}
}

func TestRunRefusesARelativePath(t *testing.T) {
	if err := Run(t.Context(), Options{Path: "storage"}); err == nil {
		t.Error("Run with a relative path = nil, want an error")
	}
}

func TestFolderFromATryBeforeACrashIsTaken(t *testing.T) {
	w := newWorld(t)
	path := mkdir(t, w.base, "pvc-uid-data_ns_data")
	w.claim("data", "local-path", here, nil)
	if pv := w.volume("pvc-uid-data"); folder(pv) != path || mode(t, path) != 0o777 {
		t.Errorf("volume is %s, mode %o, want %s, 777", folder(pv), mode(t, path), path)
	}
	// And one that is not there any more counts as removed.
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	w.release(w.volume("pvc-uid-data"))
	w.gone("pvc-uid-data")
}
