package upgrade

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	group   = "keelson.dev"
	version = "v1alpha1"
	kind    = "Upgrade"

	// annotationCordoned, on a Node, names the Upgrade that has cordoned it. Whoever cordoned a
	// node before has not left it, and finds the node as it was.
	annotationCordoned = group + "/cordoned-by-upgrade"
	// labelControlPlane is on servers, with any value.
	labelControlPlane = "node-role.kubernetes.io/control-plane"
)

func resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: "upgrades"}
}

// upgrade is an Upgrade; its schema is overlays/manifests/upgrade.yaml.
type upgrade struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              spec   `json:"spec"`
	Status            status `json:"status"`
}

type spec struct {
	Bundle       bundle                `json:"bundle"`
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	Concurrency  int                   `json:"concurrency"`
	Drain        drainOptions          `json:"drain"`
	Window       *window               `json:"window,omitempty"`
	Paused       bool                  `json:"paused"`
}

type bundle struct {
	URL    string `json:"url"`
	SHA256 string `json:"sha256,omitempty"`
}

type drainOptions struct {
	Enabled            *bool `json:"enabled,omitempty"` // nil: true
	TimeoutSeconds     int   `json:"timeoutSeconds"`    // 0: 300
	Force              bool  `json:"force"`
	DeleteEmptyDirData *bool `json:"deleteEmptyDirData,omitempty"` // nil: true
	SkipSingleNode     *bool `json:"skipSingleNode,omitempty"`     // nil: true
}

func (d drainOptions) timeout() time.Duration {
	if d.TimeoutSeconds <= 0 {
		return 300 * time.Second
	}
	return time.Duration(d.TimeoutSeconds) * time.Second
}

// or is *b, or def where the API has set nothing.
func or(b *bool, def bool) bool {
	if b == nil {
		return def
	}
	return *b
}

type status struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Phase              phase              `json:"phase,omitempty"`
	Message            string             `json:"message,omitempty"`
	Version            string             `json:"version,omitempty"`
	Progress           string             `json:"progress,omitempty"`
	Current            string             `json:"current,omitempty"`
	Started            *metav1.Time       `json:"started,omitempty"`
	Finished           *metav1.Time       `json:"finished,omitempty"`
	Bundle             *bundle            `json:"bundle,omitempty"`
	Nodes              []nodeStatus       `json:"nodes,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// phase of an Upgrade.
type phase string

const (
	phasePending    phase = "Pending"
	phaseWaiting    phase = "Waiting" // for its window, or for another Upgrade
	phasePaused     phase = "Paused"
	phaseUpgrading  phase = "Upgrading"
	phaseDone       phase = "Done"
	phaseRolledBack phase = "RolledBack"
	phaseFailed     phase = "Failed"
)

// ended says that nothing more is done until the spec changes.
func (p phase) ended() bool { return p == phaseDone || p == phaseRolledBack || p == phaseFailed }

type nodeStatus struct {
	Name        string       `json:"name"`
	Phase       nodePhase    `json:"phase"`
	Message     string       `json:"message,omitempty"`
	FromVersion string       `json:"fromVersion,omitempty"`
	ToVersion   string       `json:"toVersion,omitempty"`
	Attempt     string       `json:"attempt,omitempty"` // the machine API's ID of it; until it is armed, of the one before
	PhaseSince  *metav1.Time `json:"phaseSince,omitempty"`
	Started     *metav1.Time `json:"started,omitempty"`
	Finished    *metav1.Time `json:"finished,omitempty"`
}

// nodePhase is how far a node is; the package comment draws the way.
type nodePhase string

const (
	nodePending    nodePhase = "Pending"
	nodePreparing  nodePhase = "Preparing"
	nodeDraining   nodePhase = "Draining"
	nodeApplying   nodePhase = "Applying"
	nodeRebooting  nodePhase = "Rebooting"
	nodeDone       nodePhase = "Done"
	nodeRolledBack nodePhase = "RolledBack"
	nodeFailed     nodePhase = "Failed"
	nodeSkipped    nodePhase = "Skipped" // it has left the cluster
)

// underWay says that something is being done to the node.
func (p nodePhase) underWay() bool {
	return p == nodePreparing || p == nodeDraining || p == nodeApplying || p == nodeRebooting
}

// selector is the one of spec.nodeSelector; without one it selects all.
func (u *upgrade) selector() (labels.Selector, error) {
	if u.Spec.NodeSelector == nil {
		return labels.Everything(), nil
	}
	s, err := metav1.LabelSelectorAsSelector(u.Spec.NodeSelector)
	if err != nil {
		return nil, fmt.Errorf("spec.nodeSelector: %w", err)
	}
	return s, nil
}

// node returns the entry of a node, nil if it has none.
func (s *status) node(name string) *nodeStatus {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// enter begins a phase of a node.
func (n *nodeStatus) enter(p nodePhase, message string, now time.Time) {
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	n.Phase, n.Message, n.PhaseSince = p, message, &at
	switch {
	case p == nodePreparing:
		n.Started, n.Finished, n.Attempt, n.FromVersion, n.ToVersion = &at, nil, "", "", ""
	case !p.underWay() && p != nodePending:
		n.Finished = &at
	}
}

// decode reads what the API sent. A field of the wrong kind, which the schema keeps out, is
// an error.
func decode(object *unstructured.Unstructured) (*upgrade, error) {
	u := &upgrade{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, u); err != nil {
		return nil, fmt.Errorf("decode Upgrade %s: %w", object.GetName(), err)
	}
	return u, nil
}

// encode puts a status into an object.
func (s *status) encode(object *unstructured.Unstructured) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(s)
	if err != nil {
		return fmt.Errorf("encode the status of Upgrade %s: %w", object.GetName(), err)
	}
	object.Object["status"] = content
	return nil
}
