package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
	"github.com/keelson-os/keelson/tests/qemu"
)

// bootLimit is how long a boot to a ready node may take. Emulated on two busy cores it is
// three minutes, of which PID 1 itself grants ten; a hang shows at the console's last lines, not at this number.
const bootLimit = 12 * time.Minute

// The run's one image and the folder of the stories' logs.
var (
	lab  *harness.Lab
	logs string
)

// buildArgs are every lab's. mitigations=off: emulation has nothing to protect and a third of
// its time to win.
var buildArgs = []string{"--embed-image", harness.Busybox, "--manifest", "testdata/app.yaml", "--karg", "mitigations=off", "--minimum-serial", "1000"}

func TestMain(m *testing.M) {
	if os.Getenv("KEELSON_QEMU") != "1" {
		fmt.Println("scenarios run with KEELSON_QEMU=1, see make test")
		return
	}
	os.Exit(func() int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if err := setup(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := os.RemoveAll(lab.Dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}())
}

func setup(ctx context.Context) error {
	if err := qemu.CheckHost(); err != nil {
		return err
	}
	root, err := harness.Root()
	if err != nil {
		return err
	}
	logs = filepath.Join(root, "out", "scenario")
	if err := os.RemoveAll(logs); err != nil {
		return err
	}
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	// Beside the logs: /tmp may be too small for an image.
	dir, err := os.MkdirTemp(logs, "lab-")
	if err != nil {
		return err
	}
	lab, err = harness.NewLab(ctx, dir, harness.WithoutTraefik, buildArgs...)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// everything says whether this is "make test-all".
func everything() bool { return os.Getenv("KEELSON_ALL") == "1" }

// slow skips a story that only "make test-all" runs.
func slow(t *testing.T) {
	t.Helper()
	if !everything() {
		t.Skip("a slow story: make test-all runs it")
	}
}

// scratch makes a folder that is removed at the test's end. It is beside the logs: /tmp may be too small for an image.
func scratch(t *testing.T, prefix string) string {
	t.Helper()
	dir, err := os.MkdirTemp(logs, prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ownLab makes a cluster of the test's own, with these further arguments of "keelson build".
func ownLab(t *testing.T, prefix string, edit func(serverYAML string) string, args ...string) *harness.Lab {
	t.Helper()
	l, err := harness.NewLab(t.Context(), scratch(t, prefix), edit, slices.Concat(buildArgs, args)...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// story makes the context and the node of a test. The node is killed at the test's end;
// of its folder only the logs stay.
func story(t *testing.T, change func(*qemu.Config)) (context.Context, *harness.Node) {
	t.Helper()
	return storyOf(t, lab, change)
}

func storyOf(t *testing.T, lab *harness.Lab, change func(*qemu.Config)) (context.Context, *harness.Node) {
	t.Helper()
	dir := filepath.Join(logs, strings.ReplaceAll(t.Name(), "/", "_"))
	n, err := harness.NewNode(lab, dir, change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := n.RemoveDisk(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Join(dir, "kubeconfig")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("serial log: %s", filepath.Join(dir, "serial.log"))
		}
	})
	return t.Context(), n
}

// within bounds a step of a story.
func within(ctx context.Context, limit time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s took longer than %s", what, limit))
}

// up starts a node and waits until it is ready.
func up(t *testing.T, ctx context.Context, n *harness.Node) qemu.Boot {
	t.Helper()
	ctx, cancel := within(ctx, bootLimit, "the boot")
	defer cancel()
	boot, err := n.Up(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %.1f s after the kernel's start (%s)", boot.Ready.Seconds(), n.Accel())
	return boot
}

// kubectl runs kubectl and fails the test if kubectl fails.
func kubectl(t *testing.T, ctx context.Context, n *harness.Node, args ...string) string {
	t.Helper()
	ctx, cancel := within(ctx, 3*time.Minute, "kubectl")
	defer cancel()
	out, err := n.Kubectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually fails the test if try does not return nil within the limit.
func eventually(t *testing.T, ctx context.Context, limit time.Duration, what string, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := within(ctx, limit, what)
	defer cancel()
	if err := harness.Eventually(ctx, what, try); err != nil {
		t.Fatal(err)
	}
}

// appRuns waits until the three web pods and the probe are ready.
func appRuns(t *testing.T, ctx context.Context, n *harness.Node) {
	t.Helper()
	eventually(t, ctx, 5*time.Minute, "the application's pods", func(ctx context.Context) error {
		var errs []error
		for _, args := range [][]string{
			{"rollout", "status", "deployment/web", "--timeout=10s"},
			{"wait", "pod/probe", "--for=condition=Ready", "--timeout=10s"},
		} {
			_, err := n.Kubectl(ctx, args...)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// inProbe runs a shell script in the privileged pod, which sees the node's processes.
func inProbe(t *testing.T, ctx context.Context, n *harness.Node, script string) string {
	t.Helper()
	return strings.TrimSpace(kubectl(t, ctx, n, "exec", "probe", "--", "sh", "-c", script))
}
