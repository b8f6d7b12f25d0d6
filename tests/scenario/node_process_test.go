package scenario

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/tests/harness"
)

// apiLimit is how long the API may be away when the node process died. Under KVM it is a
// few seconds; the promise is for emulation.
const apiLimit = 60 * time.Second

// findNode prints the process ids of the node's own program, not of a kubectl or ctr of the same file.
const findNode = `for p in /proc/[0-9]*; do [ "$(readlink $p/exe)" = /usr/bin/node ] && tr '\0' ' ' < $p/cmdline | grep -q '^/bin/node *$' && echo ${p#/proc/}; done; true`

// nodeProcess returns the process id of the node process.
func nodeProcess(t *testing.T, ctx context.Context, n *harness.Node) string {
	t.Helper()
	found := strings.Fields(inProbe(t, ctx, n, findNode))
	if len(found) != 1 {
		t.Fatalf("node processes %q, want one", found)
	}
	return found[0]
}

// TestNodeProcessMayDieTenTimes kills the node process ten times in a row ("make test": four times), from a
// privileged pod that sees it. Each time PID 1 starts another, the API is back within
// apiLimit, and the pods have not noticed: same start times, no restarts. No dead process
// is left unreaped.
func TestNodeProcessMayDieTenTimes(t *testing.T) {
	ctx, n := story(t, nil)
	up(t, ctx, n)
	appRuns(t, ctx, n)
	before := mustPods(t, ctx, n, "app=web")
	kills := 4
	if everything() {
		kills = 10
	}
	for k := range kills {
		old := nodeProcess(t, ctx, n)
		// The connection dies with the process, so kubectl's verdict means nothing.
		limit, cancel := within(ctx, 30*time.Second, "exec of kill")
		_, _ = n.Kubectl(limit, "exec", "probe", "--", "kill", "-9", old)
		cancel()
		killed := time.Now()
		var pid []string
		eventually(t, ctx, apiLimit, fmt.Sprintf("the API after kill %d", k+1), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, err := n.Client.Raw(ctx, "/readyz")
			return err
		})
		t.Logf("kill %d: the API is back after %.1f s", k+1, time.Since(killed).Seconds())
		eventually(t, ctx, 3*time.Minute, "a new node process that serves exec", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			out, err := n.Kubectl(ctx, "exec", "probe", "--", "sh", "-c", findNode)
			if pid = strings.Fields(out); err == nil && (len(pid) != 1 || pid[0] == old) {
				err = fmt.Errorf("node processes %q, want one other than %s", pid, old)
			}
			return err
		})
	}
	if after := mustPods(t, ctx, n, "app=web"); !maps.Equal(before, after) {
		t.Errorf("pods are\n%+v\nwant them untouched:\n%+v", after, before)
	}
	eventually(t, ctx, 30*time.Second, "every dead process to be reaped", func(ctx context.Context) error {
		out, err := n.Kubectl(ctx, "exec", "probe", "--", "sh", "-c", `cat /proc/[0-9]*/stat 2>/dev/null | grep ') Z ' || true`)
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("zombies:\n%s", out)
		}
		return err
	})
}
