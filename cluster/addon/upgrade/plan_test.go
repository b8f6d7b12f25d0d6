package upgrade

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestServersComeFirstAndOnlyWhatIsSelected(t *testing.T) {
	node := func(name string, l map[string]string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: l}}
	}
	nodes := []corev1.Node{
		node("c", map[string]string{"disk": "ssd"}), node("a", map[string]string{"disk": "ssd"}), node("b", nil),
		node("z", map[string]string{labelControlPlane: "true", "disk": "ssd"}),
	}
	for _, c := range []struct {
		selector string
		want     []string
	}{
		{"", []string{"z", "a", "b", "c"}},
		{"disk=ssd", []string{"z", "a", "c"}},
		{"disk=tape", []string{}},
	} {
		s, err := labels.Parse(c.selector)
		if err != nil {
			t.Fatal(err)
		}
		if got := targets(nodes, s); !slices.Equal(got, c.want) {
			t.Errorf("targets(%q) = %q, want %q", c.selector, got, c.want)
		}
	}
}

func TestNextNodes(t *testing.T) {
	servers := map[string]bool{"s1": true, "s2": true}
	for _, c := range []struct {
		name        string
		phases      map[string]nodePhase // of s1, s2, a, b, c; missing: Pending
		concurrency int
		want        []string
	}{
		{"a server is first, and alone", nil, 3, []string{"s1"}},
		{"nothing beside a server", map[string]nodePhase{"s1": nodeRebooting}, 3, nil},
		{"the second server", map[string]nodePhase{"s1": nodeDone}, 3, []string{"s2"}},
		{"no agent beside the last server", map[string]nodePhase{"s1": nodeDone, "s2": nodeApplying}, 3, nil},
		{"agents one at a time", map[string]nodePhase{"s1": nodeDone, "s2": nodeDone}, 1, []string{"a"}},
		{"agents two at a time", map[string]nodePhase{"s1": nodeDone, "s2": nodeDone}, 2, []string{"a", "b"}},
		{"as many as there is room for", map[string]nodePhase{"s1": nodeDone, "s2": nodeDone, "a": nodeDraining}, 2, []string{"b"}},
		{"no room", map[string]nodePhase{"s1": nodeDone, "s2": nodeDone, "a": nodeDraining}, 1, nil},
		{"one that left does not count", map[string]nodePhase{"s1": nodeSkipped, "s2": nodeDone, "a": nodeSkipped}, 1, []string{"b"}},
		{"none after a rollback", map[string]nodePhase{"s1": nodeRolledBack}, 3, nil},
		{"none after a failure", map[string]nodePhase{"s1": nodeDone, "s2": nodeDone, "b": nodeFailed}, 3, nil},
		{"a concurrency that the API did not set", map[string]nodePhase{"s1": nodeDone, "s2": nodeDone}, 0, []string{"a"}},
	} {
		var s status
		for _, name := range []string{"s1", "s2", "a", "b", "c"} {
			p := c.phases[name]
			if p == "" {
				p = nodePending
			}
			s.Nodes = append(s.Nodes, nodeStatus{Name: name, Phase: p})
		}
		if got := s.next(servers, c.concurrency); !slices.Equal(got, c.want) {
			t.Errorf("%s: next = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheSummaryIsWhatAPersonReads(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes []nodeStatus
		why   hold
		want  status
	}{
		{"before the first", []nodeStatus{{Name: "a", Phase: nodePending}}, hold{}, status{Phase: phaseUpgrading, Progress: "0/1", Message: "1 node to go"}},
		{"under way", []nodeStatus{{Name: "a", Phase: nodeDone, ToVersion: "0.2.0"}, {Name: "b", Phase: nodeDraining, Message: "evicting pods"}, {Name: "c", Phase: nodeApplying}}, hold{},
			status{Phase: phaseUpgrading, Progress: "1/3", Current: "b,c", Message: "b: evicting pods"}},
		{"held between two", []nodeStatus{{Name: "a", Phase: nodeDone}, {Name: "b", Phase: nodePending}}, hold{phasePaused, "spec.paused is set"},
			status{Phase: phasePaused, Progress: "1/2", Message: "spec.paused is set"}},
		{"held, but one is under way", []nodeStatus{{Name: "a", Phase: nodeRebooting, Message: "rebooting"}}, hold{phasePaused, "spec.paused is set"},
			status{Phase: phaseUpgrading, Progress: "0/1", Current: "a", Message: "a: rebooting"}},
		{"stopping", []nodeStatus{{Name: "a", Phase: nodeFailed, Message: "bad key"}, {Name: "b", Phase: nodeRebooting}}, hold{},
			status{Phase: phaseUpgrading, Progress: "0/2", Current: "b", Message: "stopping: a: bad key"}},
		{"rolled back", []nodeStatus{{Name: "a", Phase: nodeRolledBack, Message: "back on 0.1.0: kernel panic"}, {Name: "b", Phase: nodePending}}, hold{},
			status{Phase: phaseRolledBack, Progress: "0/2", Message: "a: back on 0.1.0: kernel panic"}},
		{"failed", []nodeStatus{{Name: "a", Phase: nodeFailed, Message: "bad key"}}, hold{}, status{Phase: phaseFailed, Progress: "0/1", Message: "a: bad key"}},
		{"done", []nodeStatus{{Name: "a", Phase: nodeDone, ToVersion: "0.2.0"}, {Name: "b", Phase: nodeDone}, {Name: "c", Phase: nodeSkipped}}, hold{},
			status{Phase: phaseDone, Progress: "2/2", Message: "2 nodes run 0.2.0"}},
		{"nothing selected", nil, hold{}, status{Phase: phaseFailed, Progress: "0/0", Message: "no node matches spec.nodeSelector"}},
	} {
		u := &upgrade{Status: status{Nodes: c.nodes}}
		ended := u.summarize(c.why, time.Now())
		s := u.Status
		if s.Phase != c.want.Phase || s.Progress != c.want.Progress || s.Current != c.want.Current || s.Message != c.want.Message {
			t.Errorf("%s: %s %s %q %q, want %s %s %q %q", c.name, s.Phase, s.Progress, s.Current, s.Message, c.want.Phase, c.want.Progress, c.want.Current, c.want.Message)
		}
		if ended != c.want.Phase.ended() || ended != (s.Finished != nil) {
			t.Errorf("%s: ended = %v, finished %v", c.name, ended, s.Finished)
		}
		if u.summarize(c.why, time.Now()) {
			t.Errorf("%s: it ends twice", c.name)
		}
	}
}

func TestAnotherSpecKeepsNodesOnlyWithTheSameBundle(t *testing.T) {
	u := &upgrade{}
	u.Spec.Bundle = bundle{URL: "https://x/a"}
	u.begin([]string{"a", "b", "c"}, time.Now())
	u.Status.node("a").Phase, u.Status.node("b").Phase = nodeDone, nodeFailed
	phases := func() (all []nodePhase) {
		for _, n := range u.Status.Nodes {
			all = append(all, n.Phase)
		}
		return all
	}
	u.Generation++
	u.begin([]string{"a", "b", "c"}, time.Now())
	if got := phases(); !slices.Equal(got, []nodePhase{nodeDone, nodePending, nodePending}) {
		t.Errorf("with the same bundle: %q, want what was done kept and the rest pending", got)
	}
	u.Spec.Bundle.SHA256 = "other"
	u.begin([]string{"a", "b", "c"}, time.Now())
	if got := phases(); !slices.Equal(got, []nodePhase{nodePending, nodePending, nodePending}) {
		t.Errorf("with another bundle: %q, want all pending", got)
	}
}
