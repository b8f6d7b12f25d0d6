package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// helmGroup is the API group of HelmCharts.
const helmGroup = "helm.cattle.io"

// uninstall removes what disabled files put into the cluster, the files, and their Addons.
// The file may be gone by now: its Addon tells.
func (a *applier) uninstall(ctx context.Context, present map[string]found, owners map[key]string, now time.Time) {
	names := map[string]string{} // of Addons, by path
	for path := range present {
		if Disabled(display(a.dir, path), a.disabled) {
			names[path] = a.name(path, present)
		}
	}
	for _, x := range a.addons {
		if rel := display(a.dir, x.source); x.source != "" && rel != x.source && Disabled(rel, a.disabled) {
			names[x.source] = x.name
		}
	}
	for path := range a.removed {
		if names[path] == "" {
			delete(a.removed, path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		f := a.removed[path]
		if f == nil {
			f = &file{addon: names[path]}
			a.removed[path] = f
		}
		if f.done || now.Before(f.next) || ctx.Err() != nil {
			continue
		}
		p, exists := present[path]
		if err := a.remove(ctx, path, f, exists && !p.linked, owners); err != nil {
			f.retry(now)
			a.log.Warn("disabled manifest not removed", "file", display(a.dir, path), "retry", f.next.Sub(now).String(), "err", err)
			if _, ok := a.addons[f.addon]; ok {
				a.tell(f, corev1.EventTypeWarning, reasonDeleteFailed, "Deleting manifest at %q failed: %v", path, err)
			}
			continue
		}
		f.done = true
		if !exists || !p.linked {
			delete(a.removed, path) // should the file come again, so does this
		}
	}
}

var errNeedsHelm = errors.New("it has a HelmChart, which only the helm controller can uninstall: enable helm-controller until that is done")

// remove removes one disabled file and all that came from it.
func (a *applier) remove(ctx context.Context, path string, f *file, unlink bool, owners map[key]string) error {
	x, ok := a.addons[f.addon]
	if !ok {
		x = addon{name: f.addon}
	}
	x.objects = slices.Clone(x.objects)
	// The file too: an Addon that was deleted by hand takes its inventory with it.
	if text, _, err := load(path); err == nil {
		if list, err := decode(text); err == nil {
			for _, o := range list {
				x.objects = append(x.objects, refOf(o))
			}
		}
	}
	if ok && !a.helm && slices.ContainsFunc(a.addons[f.addon].objects, func(r ref) bool { return r.kind.Group == helmGroup }) {
		return errNeedsHelm
	}
	x.objects = set(x.objects)
	if _, faults := a.prune(ctx, x, func(k key) bool { return owners[k] != "" }); len(faults) > 0 {
		return errors.Join(faults...)
	}
	if unlink {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the file: %w", err)
		}
	}
	if !ok {
		return nil
	}
	a.tell(f, corev1.EventTypeNormal, reasonDeleting, "Deleting manifest at %q", path)
	if err := a.store.Delete(ctx, f.addon); err != nil {
		return err
	}
	delete(a.addons, f.addon)
	a.log.Info("disabled manifest removed", "file", display(a.dir, path))
	return nil
}
