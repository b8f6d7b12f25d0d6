package upgrade

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Types of conditions, for kubectl wait --for=condition=….
const (
	typeComplete = "Complete" // True: every node runs the bundle's system
	typeFailed   = "Failed"   // True: a node failed or rolled back, and no further one is begun
)

func controlPlane(node *corev1.Node) bool {
	_, ok := node.Labels[labelControlPlane]
	return ok
}

// targets are the names of the selected nodes, in the order in which they are upgraded.
func targets(nodes []corev1.Node, selector labels.Selector) []string {
	chosen := slices.DeleteFunc(slices.Clone(nodes), func(n corev1.Node) bool { return !selector.Matches(labels.Set(n.Labels)) })
	slices.SortFunc(chosen, func(a, b corev1.Node) int {
		if sa, sb := controlPlane(&a), controlPlane(&b); sa != sb {
			if sa {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	names := make([]string, 0, len(chosen))
	for i := range chosen {
		names = append(names, chosen[i].Name)
	}
	return names
}

// begin starts on the present spec. Nodes that are done with the same bundle stay so.
func (u *upgrade) begin(names []string, now time.Time) {
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	s := &u.Status
	old := *s
	same := old.Bundle != nil && *old.Bundle == u.Spec.Bundle
	*s = status{ObservedGeneration: u.Generation, Started: &at, Bundle: &bundle{u.Spec.Bundle.URL, u.Spec.Bundle.SHA256}, Conditions: old.Conditions}
	if same {
		s.Version = old.Version
		if !old.Phase.ended() {
			s.Started = old.Started
		}
	}
	for _, name := range names {
		n := nodeStatus{Name: name, Phase: nodePending}
		if before := old.node(name); same && before != nil && before.Phase == nodeDone {
			n = *before
		}
		s.Nodes = append(s.Nodes, n)
	}
}

// next are the nodes to begin now. servers tells which are of the control plane.
func (s *status) next(servers map[string]bool, concurrency int) []string {
	busy, server := 0, false
	for _, n := range s.Nodes {
		switch {
		case n.Phase == nodeFailed || n.Phase == nodeRolledBack:
			return nil
		case n.Phase.underWay():
			busy++
			server = server || servers[n.Name]
		}
	}
	var names []string
	for _, n := range s.Nodes {
		if n.Phase != nodePending {
			continue
		}
		switch {
		case servers[n.Name]:
			if busy == 0 && len(names) == 0 {
				names = append(names, n.Name)
			}
			return names
		case server || busy+len(names) >= max(1, concurrency):
			return names
		}
		names = append(names, n.Name)
	}
	return names
}

// hold is why no node is begun; its zero value is that nothing keeps it.
type hold struct {
	phase   phase
	message string
}

// summarize makes the fields of the status that follow from those of the nodes. It returns
// whether the Upgrade has ended by that.
func (u *upgrade) summarize(why hold, now time.Time) (ended bool) {
	s := &u.Status
	before := s.Phase
	var current []string
	var busy, bad *nodeStatus
	done, all, pending := 0, 0, 0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Phase != nodeSkipped {
			all++
		}
		switch {
		case n.Phase == nodeDone:
			done++
		case n.Phase == nodePending:
			pending++
		case n.Phase.underWay():
			current = append(current, n.Name)
			if busy == nil {
				busy = n
			}
		case n.Phase == nodeFailed || n.Phase == nodeRolledBack:
			if bad == nil || bad.Phase == nodeFailed {
				bad = n
			}
		}
		if n.ToVersion != "" {
			s.Version = n.ToVersion
		}
	}
	s.Progress, s.Current = fmt.Sprintf("%d/%d", done, all), strings.Join(current, ",")
	switch {
	case busy != nil && bad != nil:
		s.Phase, s.Message = phaseUpgrading, fmt.Sprintf("stopping: %s: %s", bad.Name, bad.Message)
	case busy != nil:
		s.Phase, s.Message = phaseUpgrading, fmt.Sprintf("%s: %s", busy.Name, busy.Message)
	case bad != nil:
		s.Phase, s.Message = phaseFailed, fmt.Sprintf("%s: %s", bad.Name, bad.Message)
		if bad.Phase == nodeRolledBack {
			s.Phase = phaseRolledBack
		}
	case all == 0:
		s.Phase, s.Message = phaseFailed, "no node matches spec.nodeSelector"
	case pending == 0:
		s.Phase, s.Message = phaseDone, fmt.Sprintf("%s %s %s", count(done), map[bool]string{true: "runs", false: "run"}[done == 1], cmp.Or(s.Version, "the bundle's system"))
	case why.phase != "":
		s.Phase, s.Message = why.phase, why.message
	default:
		s.Phase, s.Message = phaseUpgrading, fmt.Sprintf("%s to go", count(pending))
	}
	s.Message = cut(s.Message, maxMessage)
	s.condition(typeComplete, s.Phase == phaseDone, u.Generation, now)
	s.condition(typeFailed, s.Phase == phaseFailed || s.Phase == phaseRolledBack, u.Generation, now)
	ended = s.Phase.ended() && s.Phase != before
	switch {
	case !s.Phase.ended():
		s.Finished = nil
	case ended || s.Finished == nil:
		at := metav1.NewTime(now.UTC().Truncate(time.Second))
		s.Finished = &at
	}
	return ended
}

func count(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

func (s *status) condition(kind string, is bool, generation int64, now time.Time) {
	value := metav1.ConditionFalse
	if is {
		value = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: kind, Status: value, Reason: string(s.Phase), Message: s.Message, ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(now.UTC().Truncate(time.Second)),
	})
}

// maxMessage bounds a message, in bytes; the API bounds an event's to 1024.
const maxMessage = 1000

// cut shortens a text to at most n bytes, at a character's end, on one line.
func cut(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
