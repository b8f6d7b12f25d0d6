package scenario

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

const (
	storageNamespace = "storage-story"
	// storageFolder is default-local-storage-path, seen from the probe: PID 1's root.
	storageFolder = "/proc/1/root/var/lib/rancher/k3s/storage"
	forgedFolder  = "/var/lib/rancher/storage-story-forged"
)

const storageManifests = `
apiVersion: v1
kind: Namespace
metadata: {name: storage-story}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: storage-story-retain}
provisioner: rancher.io/local-path
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Retain
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: unused, namespace: storage-story}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: storage-story}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsUser: 1000, runAsGroup: 1000}
      containers:
      - name: db
        image: keelson.dev/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: removed, namespace: storage-story}
spec:
  accessModes: [ReadWriteOncePod]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: retained, namespace: storage-story}
spec:
  storageClassName: storage-story-retain
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: storage-story}
spec:
  restartPolicy: Never
  volumes:
  - {name: removed, persistentVolumeClaim: {claimName: removed}}
  - {name: retained, persistentVolumeClaim: {claimName: retained}}
  containers:
  - name: writer
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "echo 1 > /removed/file; ln -s / /removed/root; echo 2 > /retained/file"]
    volumeMounts:
    - {name: removed, mountPath: /removed}
    - {name: retained, mountPath: /retained}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared, namespace: storage-story}
spec:
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: sharer, namespace: storage-story}
spec:
  volumes: [{name: data, persistentVolumeClaim: {claimName: shared}}]
  containers:
  - name: sharer
    image: keelson.dev/busybox:1
    imagePullPolicy: Never
    command: [sleep, "1000000"]
    volumeMounts: [{name: data, mountPath: /data}]
`

// storageForged is what somebody writes who wants a folder of the node removed: it says
// that we made it and that its claim is gone.
const storageForged = `
apiVersion: v1
kind: PersistentVolume
metadata:
  name: storage-story-forged
  annotations:
    pv.kubernetes.io/provisioned-by: rancher.io/local-path
    local.path.provisioner/selected-node: %s
spec:
  storageClassName: local-path
  persistentVolumeReclaimPolicy: Delete
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Mi}
  hostPath: {path: ` + forgedFolder + `}
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: storage-story, name: never, uid: 4e9f2b9c-0000-4000-8000-000000000000}
`

// storageStory uses the class local-path as somebody does who comes from k3s. A claim waits
// for a pod; then the pod, which is not root, writes into it. Removing a claim removes its
// folder, a retained one stays, and a PersistentVolume that points elsewhere removes
// nothing. storageAfterReboot goes on where it ends.
func storageStory(t *testing.T, ctx context.Context, n *harness.Node) {
	limit, cancel := within(ctx, 3*time.Minute, "applying the claims")
	defer cancel()
	if _, err := n.KubectlInput(limit, storageManifests, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	storage := func(args ...string) string {
		t.Helper()
		return kubectl(t, ctx, n, append([]string{"-n", storageNamespace}, args...)...)
	}

	t.Run("the packaged class", func(t *testing.T) {
		got := kubectl(t, ctx, n, "get", "storageclass", "local-path", "-o",
			`jsonpath={.provisioner} {.volumeBindingMode} {.reclaimPolicy} {.metadata.annotations.storageclass\.kubernetes\.io/is-default-class}`)
		if want := "rancher.io/local-path WaitForFirstConsumer Delete true"; got != want {
			t.Errorf("StorageClass local-path = %q, want %q", got, want)
		}
	})
	t.Run("a StatefulSet writes as a user", func(t *testing.T) {
		eventually(t, ctx, 3*time.Minute, "pod db-0", func(ctx context.Context) error {
			_, err := n.Kubectl(ctx, "-n", storageNamespace, "wait", "pod/db-0", "--for=condition=Ready", "--timeout=10s")
			return err
		})
		storage("exec", "db-0", "--", "sh", "-c", "echo written by $(id -u) > /data/kept; sync")
		volume := storage("get", "pvc", "data-db-0", "-o", "jsonpath={.spec.volumeName}")
		folder := storageFolder + "/" + volume + "_" + storageNamespace + "_data-db-0"
		if got, want := inProbe(t, ctx, n, fmt.Sprintf("cat %s/kept; stat -c %%a %s %s", folder, folder, storageFolder)), "written by 1000\n777\n700"; got != want {
			t.Errorf("file and modes of the folder and the one above = %q, want %q", got, want)
		}
		got := kubectl(t, ctx, n, "get", "pv", volume, "-o", `jsonpath={.spec.local.path} {.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key}`)
		if want := strings.TrimPrefix(folder, "/proc/1/root") + " kubernetes.io/hostname"; got != want {
			t.Errorf("PersistentVolume = %q, want %q", got, want)
		}
	})
	t.Run("a claim without a pod waits", func(t *testing.T) {
		if got := storage("get", "pvc", "unused", "-o", "jsonpath={.status.phase} {.spec.storageClassName} {.spec.volumeName}"); got != "Pending local-path " {
			t.Errorf("claim = %q, want it Pending, of local-path, without a volume", got)
		}
	})
	t.Run("removed and retained", func(t *testing.T) {
		eventually(t, ctx, 2*time.Minute, "the writer", func(ctx context.Context) error {
			_, err := n.Kubectl(ctx, "-n", storageNamespace, "wait", "pod/writer", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=10s")
			return err
		})
		folders := map[string]string{}
		for _, claim := range []string{"removed", "retained"} {
			volume := storage("get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}")
			folders[claim] = storageFolder + "/" + volume + "_" + storageNamespace + "_" + claim
			if got := inProbe(t, ctx, n, "ls "+folders[claim]); !strings.Contains(got, "file") {
				t.Fatalf("folder of claim %s holds %q, want the file", claim, got)
			}
		}
		storage("delete", "pod/writer", "pvc/removed", "pvc/retained", "--timeout=2m")
		eventually(t, ctx, time.Minute, "the folder's removal", func(ctx context.Context) error {
			_, err := n.Kubectl(ctx, "exec", "probe", "--", "test", "!", "-e", folders["removed"])
			return err
		})
		if got := inProbe(t, ctx, n, "cat "+folders["retained"]+"/file; ls /proc/1/root/etc/group"); got != "2\n/proc/1/root/etc/group" {
			t.Errorf("retained file and the root that a link pointed to = %q", got)
		}
		if got := kubectl(t, ctx, n, "get", "pv", "-o", `jsonpath={range .items[?(@.spec.claimRef.namespace=="storage-story")]}{.spec.claimRef.name} {.status.phase}{"\n"}{end}`); strings.Contains(got, "removed") || !strings.Contains(got, "retained Released") {
			t.Errorf("PersistentVolumes are %q, want the retained one and not the removed one", got)
		}
	})
	t.Run("many writers are refused", func(t *testing.T) {
		storageSaid(t, ctx, n, storageNamespace, "PersistentVolumeClaim", "shared", "ProvisioningFailed", "ReadWriteMany")
	})
	t.Run("a forged volume", func(t *testing.T) {
		inProbe(t, ctx, n, "mkdir -p /proc/1/root"+forgedFolder+" && echo precious > /proc/1/root"+forgedFolder+"/file")
		node := kubectl(t, ctx, n, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
		limit, cancel := within(ctx, time.Minute, "applying the volume")
		defer cancel()
		if _, err := n.KubectlInput(limit, fmt.Sprintf(storageForged, node), "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		storageSaid(t, ctx, n, "default", "PersistentVolume", "storage-story-forged", "VolumeFailedDelete", forgedFolder+" is not removed")
		if got := inProbe(t, ctx, n, "cat /proc/1/root"+forgedFolder+"/file"); got != "precious" {
			t.Errorf("the file outside holds %q, want precious", got)
		}
	})
}

// storageAfterReboot checks, after storageStory and a start of the machine, that the
// StatefulSet's pod has its file.
func storageAfterReboot(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	eventually(t, ctx, 5*time.Minute, "the StatefulSet's file after the reboot", func(ctx context.Context) error {
		got, err := n.Kubectl(ctx, "-n", storageNamespace, "exec", "db-0", "--", "cat", "/data/kept")
		if err == nil && got != "written by 1000\n" {
			err = fmt.Errorf("the file holds %q", got)
		}
		return err
	})
}

// storageSaid waits for an event whose message has part.
func storageSaid(t *testing.T, ctx context.Context, n *harness.Node, namespace, kind, name, reason, part string) {
	t.Helper()
	eventually(t, ctx, time.Minute, "event "+reason+" on "+name, func(ctx context.Context) error {
		got, err := n.Kubectl(ctx, "-n", namespace, "get", "events", "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`,
			"--field-selector", "involvedObject.kind="+kind+",involvedObject.name="+name+",reason="+reason)
		if err == nil && !strings.Contains(got, part) {
			err = fmt.Errorf("events are %q, want %q", got, part)
		}
		return err
	})
}
