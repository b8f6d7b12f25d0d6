package example

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/testcluster"
)

// TestHelloAnswersOnItsNodePort puts an application into an image, boots it on a machine that
// reaches nothing, and asks the application from outside.
func TestHelloAnswersOnItsNodePort(t *testing.T) {
	if os.Getenv("KEELSON_QEMU") != "1" {
		t.Skip("boots a virtual machine: set KEELSON_QEMU=1")
	}
	image := build(t)
	c := testcluster.Start(t, testcluster.Options{Image: image, Ports: []int{30080}, Isolated: true})

	eventually(t, "the deployment to be available", func(ctx context.Context) error {
		var deployment struct {
			Status struct{ AvailableReplicas int }
		}
		// With client-go: clientcmd.BuildConfigFromFlags("", c.Kubeconfig).
		body, err := get(ctx, c.HTTP, c.Server+"/apis/apps/v1/namespaces/default/deployments/hello")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, &deployment); err != nil {
			return err
		}
		if n := deployment.Status.AvailableReplicas; n != 1 {
			return fmt.Errorf("%d replicas are available, want 1", n)
		}
		return nil
	})
	eventually(t, "an answer on the NodePort", func(ctx context.Context) error {
		body, err := get(ctx, http.DefaultClient, "http://"+c.Address(30080))
		if err == nil && !strings.HasPrefix(string(body), "hello-") {
			err = fmt.Errorf("the answer is %q, want the name of a pod", body)
		}
		return err
	})
}

// build makes a cluster's configuration and its image. A project whose application is not part
// of the image does this once, outside its tests, and keeps both.
func build(t *testing.T) (image string) {
	t.Helper()
	keelson := os.Getenv("KEELSON")
	if keelson == "" {
		keelson = filepath.Join("..", "..", "bin", "keelson")
	}
	dir := t.TempDir()
	image = filepath.Join(dir, "hello.img")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), keelson, args...).CombinedOutput(); err != nil {
			t.Fatalf("keelson %s: %v\n%s", args[0], err, out)
		}
	}
	run("config", "new", filepath.Join(dir, "hello"))
	// What the test does not ask for does not have to start.
	server := filepath.Join(dir, "hello", "server.yaml")
	text, err := os.ReadFile(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server, bytes.Replace(text, []byte("  # disable: [traefik] "), []byte("  disable: [traefik] "), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	run("build", "--board", "pc", "--allow-moved-packages", "--config", server, "--out", image,
		"--embed-image", "keelson.dev/busybox:1", "--manifest", filepath.Join("testdata", "hello.yaml"), "--karg", "mitigations=off")
	return image
}

// get returns the body of a 200.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", url, resp.Status, body)
	}
	return body, err
}

// eventually tries every second, for three minutes.
func eventually(t *testing.T, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		once, done := context.WithTimeout(ctx, 10*time.Second)
		err := try(once)
		done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", what, err)
		case <-time.After(time.Second):
		}
	}
}
