// Package release installs, upgrades and uninstalls Helm releases in this process, with
// Helm's own library.
//
// Releases are stored as the helm command does it, so that helm list, history and rollback
// know them, and so that releases of k3s's helm jobs go on here.
//
// Everything made for an action is dropped after it: clients, the cache of the API's kinds,
// rendered manifests. Helm's environment variables are not read, nothing is written to a
// disk, and no process is started.
//
//	none, uninstalled (history kept)                ──▶ install
//	deployed                                        ──▶ upgrade
//	pending-upgrade, superseded                     ──▶ marked failed ──▶ upgrade
//	pending-install, pending-rollback, uninstalling ──▶ marked failed ──▶ as failed
//	failed, unknown                                 ──▶ Policy: uninstall and install, upgrade, or nothing
//
// The pending states are what a process leaves that was ended in the middle.
package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// HashLabel is k3s's label of a release's Secret: a digest of what the release was made from.
const HashLabel = "helmcharts.helm.cattle.io/configHash"

const (
	// DefaultTimeout is helm's, for each hook and for the end of what is deleted.
	DefaultTimeout = 5 * time.Minute
	// maxHistory is how many revisions helm keeps by default.
	maxHistory = 10
)

// Policy says what is done with a release that failed.
type Policy string

// The policies, by k3s's names.
const (
	Reinstall Policy = "reinstall" // uninstall, then install
	Abort     Policy = "abort"     // leave it to a person
	Retry     Policy = "retry"     // upgrade
)

// ErrAborted says that a release failed earlier and that its policy is Abort: somebody has
// to repair it with helm, or delete it.
var ErrAborted = errors.New("the release failed earlier and failurePolicy is abort: repair it with helm (rollback or uninstall)")

// Target is a release and how to write it.
type Target struct {
	Name, Namespace string
	Driver          string // secret or configmap: where helm keeps it
	Hash            string // put into HashLabel
	Policy          Policy
	CreateNamespace bool
	TakeOwnership   bool
	ServerSide      string // true, false or auto
	ForceConflicts  bool
	Timeout         time.Duration // 0: DefaultTimeout
}

// State is what a release's newest revision says of itself.
type State struct {
	Revision int    // 0: there is no release
	Status   string // helm's word, for example deployed
	Hash     string // of HashLabel
}

// Info is a release for people.
type Info struct {
	Revision   int
	Chart      string // name-version
	AppVersion string
}

// Content gets what is to be installed. It is called at most once, before anything changes.
type Content func(context.Context) (*chart.Chart, map[string]any, error)

// Helm acts on releases. It is safe for concurrent use on different releases.
type Helm struct {
	configure func(ctx context.Context, namespace, driver string) (*action.Configuration, error)
	list      func(ctx context.Context, namespace, name, driver string) ([]metav1.ObjectMeta, error)
}

// New returns a Helm that has the rights of cfg.
func New(cfg *rest.Config, log *slog.Logger) *Helm {
	return &Helm{
		configure: func(ctx context.Context, namespace, driver string) (*action.Configuration, error) {
			return configuration(ctx, cfg, namespace, driver, log)
		},
		list: func(ctx context.Context, namespace, name, driver string) ([]metav1.ObjectMeta, error) {
			return list(ctx, cfg, namespace, name, driver)
		},
	}
}

// Apply makes the release be what content says, by install or upgrade, according to the
// state it is in. A canceled ctx ends it at once and leaves the release pending, which the
// next Apply resolves. Errors: ErrAborted, content's, and helm's.
func (h *Helm) Apply(ctx context.Context, t Target, content Content) (Info, error) {
	state, err := h.State(ctx, t.Namespace, t.Name, t.Driver)
	if err != nil {
		return Info{}, err
	}
	plan := next(state.Status, t.Policy)
	if plan == abort {
		return Info{}, h.aborted(ctx, t, state)
	}
	made, vals, err := content(ctx)
	if err != nil {
		return Info{}, err
	}
	cfg, err := h.configure(ctx, t.Namespace, t.Driver)
	if err != nil {
		return Info{}, err
	}
	if interrupted(state.Status) {
		if err := fail(cfg, t.Name, state); err != nil {
			return Info{}, err
		}
		if plan = next(string(common.StatusFailed), t.Policy); state.Status == string(common.StatusPendingUpgrade) || state.Status == string(common.StatusSuperseded) {
			plan = upgrade
		}
		if plan == abort {
			return Info{}, h.aborted(ctx, t, state)
		}
	}
	var rel release.Releaser
	switch plan {
	case reinstall:
		if err := h.uninstall(ctx, cfg, t.Name, t.timeout()); err != nil {
			return Info{}, fmt.Errorf("uninstall before the new install: %w", err)
		}
		rel, err = install(ctx, cfg, t, made, vals)
	case upgrade:
		rel, err = h.upgrade(ctx, cfg, t, state, made, vals)
	default:
		rel, err = install(ctx, cfg, t, made, vals)
	}
	if err != nil {
		// Helm's errors end with what the API said; that ctx ended is the reason behind it.
		if ctx.Err() != nil {
			return Info{}, fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		if missingNamespace(err, t.Namespace) {
			err = fmt.Errorf("%w: create the namespace, or set spec.createNamespace to true", err)
		}
		return Info{}, fmt.Errorf("release %s in namespace %s: %w", t.Name, t.Namespace, err)
	}
	return describe(rel), nil
}

// aborted is ErrAborted with what helm noted of the failure.
func (h *Helm) aborted(ctx context.Context, t Target, s State) error {
	cfg, err := h.configure(ctx, t.Namespace, t.Driver)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrAborted, err)
	}
	rel, err := get(cfg, t.Name, s.Revision)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrAborted, err)
	}
	return fmt.Errorf("%w; revision %d: %s", ErrAborted, s.Revision, rel.Info.Description)
}

func missingNamespace(err error, namespace string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonNotFound {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "namespaces" && d.Name == namespace
}

// Uninstall removes a release with its objects and waits for their end. A release that
// does not exist is no error: it is gone.
func (h *Helm) Uninstall(ctx context.Context, t Target) error {
	state, err := h.State(ctx, t.Namespace, t.Name, t.Driver)
	if err != nil || state.Revision == 0 {
		return err
	}
	cfg, err := h.configure(ctx, t.Namespace, t.Driver)
	if err != nil {
		return err
	}
	return h.uninstall(ctx, cfg, t.Name, t.timeout())
}

func (t Target) timeout() time.Duration {
	if t.Timeout > 0 {
		return t.Timeout
	}
	return DefaultTimeout
}

// install begins a release. Like k3s it does not wait for the objects, only for hooks.
func install(ctx context.Context, cfg *action.Configuration, t Target, made *chart.Chart, vals map[string]any) (release.Releaser, error) {
	a := action.NewInstall(cfg)
	a.ReleaseName, a.Namespace = t.Name, t.Namespace
	a.CreateNamespace, a.TakeOwnership = t.CreateNamespace, t.TakeOwnership
	a.Replace = true // of a release that was uninstalled with its history kept
	a.ServerSideApply = t.ServerSide != "false"
	a.ForceConflicts = t.ForceConflicts && a.ServerSideApply
	a.Timeout, a.Labels = t.timeout(), hashLabel(t)
	a.WaitStrategy, a.WaitOptions = kube.HookOnlyStrategy, []kube.WaitOption{kube.WithWaitContext(ctx)}
	// Not RunWithContext: that leaves a goroutine behind and notes a failure, for which the
	// release would be reinstalled. The configuration's connections end with ctx instead.
	return a.Run(made, vals) //nolint:contextcheck // see above
}

func (h *Helm) upgrade(ctx context.Context, cfg *action.Configuration, t Target, s State, made *chart.Chart, vals map[string]any) (release.Releaser, error) {
	a := action.NewUpgrade(cfg)
	a.Namespace, a.TakeOwnership = t.Namespace, t.TakeOwnership
	a.ServerSideApply = t.ServerSide
	if a.ServerSideApply == "" {
		a.ServerSideApply = "auto"
	}
	if t.ForceConflicts {
		// Helm refuses to force where it would not apply on the server's side.
		method := a.ServerSideApply
		if method == "auto" {
			old, err := get(cfg, t.Name, s.Revision)
			if err != nil {
				return nil, err
			}
			if old.ApplyMethod == string(releasev1.ApplyMethodServerSideApply) {
				method = "true"
			}
		}
		a.ForceConflicts = method == "true"
	}
	// The HelmChart says it all: a value that left it is the chart's default again.
	a.ResetValues = true
	a.MaxHistory = maxHistory
	a.Timeout, a.Labels = t.timeout(), hashLabel(t)
	a.WaitStrategy, a.WaitOptions = kube.HookOnlyStrategy, []kube.WaitOption{kube.WithWaitContext(ctx)}
	return a.Run(t.Name, made, vals) //nolint:contextcheck // as in install
}

// uninstall waits for the end of the objects: what is installed next may have the same names.
func (h *Helm) uninstall(ctx context.Context, cfg *action.Configuration, name string, timeout time.Duration) error {
	a := action.NewUninstall(cfg)
	a.IgnoreNotFound = true
	a.Timeout = timeout
	a.WaitStrategy, a.WaitOptions = kube.StatusWatcherStrategy, []kube.WaitOption{kube.WithWaitContext(ctx)}
	if k, ok := cfg.KubeClient.(*client); ok {
		k.forgive = true
		defer func() { k.forgive = false }()
		k.failure = nil
	}
	_, err := a.Run(name)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if k, ok := cfg.KubeClient.(*client); ok && k.failure != nil {
		return fmt.Errorf("%w: %w", err, k.failure) // helm's own text has no reason
	}
	return err
}

func hashLabel(t Target) map[string]string { return map[string]string{HashLabel: t.Hash} }

// fail notes that an interrupted operation failed; helm refuses to begin another one
// before that.
func fail(cfg *action.Configuration, name string, s State) error {
	rel, err := get(cfg, name, s.Revision)
	if err != nil {
		return err
	}
	rel.SetStatus(common.StatusFailed, "interrupted while "+s.Status)
	if err := cfg.Releases.Update(rel); err != nil {
		return fmt.Errorf("release %s revision %d: mark as failed: %w", name, s.Revision, err)
	}
	return nil
}

func get(cfg *action.Configuration, name string, revision int) (*releasev1.Release, error) {
	rel, err := cfg.Releases.Get(name, revision)
	if err != nil {
		return nil, fmt.Errorf("release %s revision %d: %w", name, revision, err)
	}
	v1, ok := rel.(*releasev1.Release)
	if !ok {
		return nil, fmt.Errorf("release %s revision %d: stored as %T, which is not known here", name, revision, rel)
	}
	return v1, nil
}

func describe(rel release.Releaser) Info {
	v1, ok := rel.(*releasev1.Release)
	if !ok || v1 == nil {
		return Info{}
	}
	info := Info{Revision: v1.Version}
	if v1.Chart != nil && v1.Chart.Metadata != nil {
		info.Chart = v1.Chart.Metadata.Name + "-" + v1.Chart.Metadata.Version
		info.AppVersion = v1.Chart.Metadata.AppVersion
	}
	return info
}

// plan is what Apply does.
type plan int

const (
	begin plan = iota // install
	upgrade
	reinstall
	abort
)

// next is the state diagram of the package comment. For an interrupted operation it
// returns a plan that is not abort: its state is corrected first.
func next(status string, p Policy) plan {
	switch common.Status(status) {
	case "", common.StatusUninstalled:
		return begin
	case common.StatusDeployed:
		return upgrade
	}
	if interrupted(status) {
		return upgrade
	}
	switch p {
	case Abort:
		return abort
	case Retry:
		return upgrade
	}
	return reinstall
}

func interrupted(status string) bool {
	switch s := common.Status(status); s {
	case common.StatusSuperseded, common.StatusUninstalling:
		return true
	default:
		return s.IsPending()
	}
}
