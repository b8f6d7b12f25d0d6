package upgrade

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/drain"
)

// evictAgain is how long a pod that a PodDisruptionBudget holds is left before it is tried again.
const evictAgain = 5 * time.Second

// evict has the pods leave a node, but for those of DaemonSets and static ones, within limit
// at most. say hears which pods are waited for and why; calls may be concurrent.
func evict(ctx context.Context, client kubernetes.Interface, node string, o drainOptions, limit time.Duration, say func(string)) error {
	// Requests end with ctx; the helper ends by its own timeout, at the latest after one more evictAgain.
	h := &drain.Helper{
		Ctx: ctx, Client: client, Force: o.Force, DeleteEmptyDirData: or(o.DeleteEmptyDirData, true), IgnoreAllDaemonSets: true,
		GracePeriodSeconds: -1, Timeout: limit, EvictErrorRetryDelay: evictAgain, ChunkSize: 100,
		Out: io.Discard, ErrOut: told(say),
	}
	list, errs := h.GetPodsForDeletion(node)
	if len(errs) > 0 {
		text := errors.Join(errs...).Error()
		for flag, field := range map[string]string{"--force": "spec.drain.force", "--delete-emptydir-data": "spec.drain.deleteEmptyDirData"} {
			text = strings.ReplaceAll(text, flag, field)
		}
		return errors.New(text)
	}
	return h.DeleteOrEvictPods(list.Pods())
}

// told passes on what the helper complains of: "error when evicting pods/NAME … (will retry after 5s): WHY".
type told func(string)

func (t told) Write(text []byte) (int, error) {
	t(strings.TrimSpace(string(text)))
	return len(text), nil
}
