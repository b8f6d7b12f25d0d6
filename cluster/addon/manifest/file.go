package manifest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// The reasons of events; they are k3s's.
const (
	reasonRead         = "ReadManifestFailed"
	reasonParse        = "ParseManifestFailed"
	reasonApplying     = "ApplyingManifest"
	reasonApplied      = "AppliedManifest"
	reasonFailed       = "ApplyManifestFailed"
	reasonDeleting     = "DeletingManifest"
	reasonDeleteFailed = "DeleteManifestFailed" // ours: k3s has only its log
	reasonDuplicate    = "DuplicateObject"      // ours
)

// patience is how many tries a kind that is not served is no fault: its definition was
// applied a moment ago.
const patience = 4

// read takes up a file's content, and reports whether it is to be applied.
func (a *applier) read(ctx context.Context, path string, f *file, now time.Time) bool {
	f.unread = false
	text, sum, err := load(path)
	if err == nil && f.text && sum == f.sum && f.failed == nil && f.tries == 0 {
		f.done = true // touched, not changed
		return false
	}
	var list []*unstructured.Unstructured
	reason := reasonRead
	if err == nil {
		if !f.text || sum != f.sum {
			f.tries, f.failed, f.shadowed = 0, nil, false
		}
		f.sum, f.text = sum, true
		reason = reasonParse
		list, err = decode(text)
	}
	if err == nil {
		f.refs = make([]ref, 0, len(list))
		for _, o := range list {
			_ = a.locate(ctx, o) // apply finds the same fault, and tells it
			f.refs = append(f.refs, refOf(o))
		}
		return true
	}
	x, ok := a.addons[f.addon]
	if !ok {
		x = addon{name: f.addon}
	}
	if f.refs == nil {
		f.refs = x.objects // what it had is not given to other files
	}
	x.source = path
	failure := a.put(ctx, x)
	if failure == nil {
		a.tell(f, corev1.EventTypeWarning, reason, "%s manifest at %q failed: %v", map[string]string{reasonRead: "Read", reasonParse: "Parse"}[reason], path, err)
	}
	if failure != nil || reason == reasonRead {
		f.retry(now)
	} else {
		f.done = true // nothing but a change of the file helps
	}
	a.log.Warn("manifest not readable", "file", display(a.dir, path), "err", errors.Join(err, failure))
	return false
}

// locate gives an object the namespace that it is applied in: default where it needs one and
// has none.
func (a *applier) locate(ctx context.Context, o *unstructured.Unstructured) error {
	namespaced, err := a.objects.Namespaced(ctx, o.GroupVersionKind())
	switch {
	case err != nil:
	case !namespaced:
		o.SetNamespace("")
	case o.GetNamespace() == "":
		o.SetNamespace(metav1.NamespaceDefault)
	}
	return err
}

// located is locate for an object of which only the name is known.
func (a *applier) located(ctx context.Context, r ref) ref {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetGroupVersionKind(r.kind)
	o.SetNamespace(r.namespace)
	if a.locate(ctx, o) == nil {
		r.namespace = o.GetNamespace()
	}
	return r
}

// outcome is how applying a file went. Unless it was tried, nothing may be deleted either.
type outcome struct {
	tried  bool
	faults []error
}

// apply applies what is to be applied of a file and returns all that went wrong.
func (a *applier) apply(ctx context.Context, path string, f *file, owners map[key]string) outcome {
	text, sum, err := load(path)
	if err != nil {
		return outcome{faults: []error{err}}
	}
	if sum != f.sum {
		f.stamp = stamp{} // it is being written: look again
		return outcome{faults: []error{errors.New("the file changes, waiting for its end")}}
	}
	list, err := decode(text)
	if err != nil {
		return outcome{faults: []error{err}}
	}
	x, ok := a.addons[f.addon]
	if !ok {
		x = addon{name: f.addon}
	}
	fresh := x.checksum != hex.EncodeToString(sum[:]) || x.source != path
	var refs []ref
	var faults []error
	located := make([]error, len(list))
	for i, o := range list {
		located[i] = a.locate(ctx, o)
		refs = append(refs, refOf(o))
	}
	f.refs = refs
	x.source, x.objects = path, append(slices.Clone(refs), x.objects...)
	if err := a.put(ctx, x); err != nil {
		return outcome{faults: []error{err}}
	}
	if fresh && f.tries == 0 {
		a.tell(f, corev1.EventTypeNormal, reasonApplying, "Applying manifest at %q", path)
	}
	failed := map[int]bool{}
	f.shadowed = false
	for i, o := range list {
		if owner, ok := owners[refs[i].key()]; ok && owner != path {
			f.shadowed = true
			if fresh && f.tries == 0 {
				a.tell(f, corev1.EventTypeWarning, reasonDuplicate, "%s is in %q too, which is used: leave it in one file", refs[i], owner)
			}
			continue
		}
		if f.failed != nil && !f.failed[i] {
			continue
		}
		err := located[i]
		if err == nil {
			mark(o, f.addon)
			err = a.objects.Apply(ctx, o)
		}
		if err != nil {
			failed[i] = true
			faults = append(faults, fmt.Errorf("%s: %w", refs[i], err))
		}
	}
	f.failed = failed
	return outcome{true, faults}
}

// finish deletes what left the file and notes how all of it went.
func (a *applier) finish(ctx context.Context, path string, f *file, owners map[key]string, result outcome, now time.Time) {
	x, faults := a.addons[f.addon], result.faults
	if !result.tried {
		a.fail(path, f, faults, now)
		return
	}
	sum := hex.EncodeToString(f.sum[:])
	fresh := x.checksum != sum || f.tries > 0
	wanted := map[key]bool{}
	for _, r := range f.refs {
		wanted[r.key()] = true
	}
	keep := slices.Clone(f.refs)
	left, pruneFaults := a.prune(ctx, x, func(k key) bool { return wanted[k] || owners[k] != "" && owners[k] != path })
	faults = append(faults, pruneFaults...)
	x.objects = append(keep, left...)
	if len(faults) == 0 {
		x.checksum = sum
	}
	if err := a.put(ctx, x); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		a.fail(path, f, faults, now)
		return
	}
	f.done, f.failed, f.tries = true, nil, 0
	if fresh {
		a.tell(f, corev1.EventTypeNormal, reasonApplied, "Applied manifest at %q", path)
		a.log.Info("manifest applied", "file", display(a.dir, path), "objects", len(f.refs))
	}
}

// prune deletes the Addon's objects that keep does not want, what others need last, and
// returns those that it could not delete.
func (a *applier) prune(ctx context.Context, x addon, keep func(key) bool) ([]ref, []error) {
	list := slices.Clone(x.objects)
	slices.SortStableFunc(list, func(a, b ref) int { return rankOf(b.kind.Kind) - rankOf(a.kind.Kind) })
	var left []ref
	var faults []error
	for _, r := range list {
		r = a.located(ctx, r)
		if keep(r.key()) {
			continue
		}
		deleted, err := a.objects.Delete(ctx, r, x.name)
		if err != nil {
			left = append(left, r)
			faults = append(faults, fmt.Errorf("delete %s: %w", r, err))
		} else if deleted {
			a.log.Info("object deleted", "addon", x.name, "object", r.String())
		}
	}
	return left, faults
}

// fail notes that the file has to be tried again, and why.
func (a *applier) fail(path string, f *file, faults []error, now time.Time) {
	f.retry(now)
	waiting := f.tries < patience
	for _, err := range faults {
		waiting = waiting && errors.Is(err, errUnknownKind)
	}
	if _, ok := a.addons[f.addon]; ok && !waiting {
		a.tell(f, corev1.EventTypeWarning, reasonFailed, "Applying manifest at %q failed: %s", path, summary(faults))
	}
	if !waiting {
		a.log.Warn("manifest not applied", "file", display(a.dir, path), "retry", f.next.Sub(now).String(), "err", summary(faults))
	}
}

// summary is the first few of many errors, in one line.
func summary(faults []error) string {
	const most = 5
	var texts []string
	for i, err := range faults {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(faults)-most))
			break
		}
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// reference is the Addon as events name it.
func reference(x addon) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "k3s.cattle.io/v1", Kind: "Addon", Namespace: metav1.NamespaceSystem, Name: x.name, UID: x.uid}
}
