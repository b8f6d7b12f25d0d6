package manifest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/tools/record"
)

const (
	// pollInterval is k3s's. Looking at a folder's times costs no write and no wake-up worth
	// counting, and unlike inotify it sees what was changed on another mount of it.
	pollInterval = 15 * time.Second
	// settle is how long a file must have been left alone: one that is being written may
	// look empty, and an empty file deletes its objects.
	settle = 2 * time.Second
	// holdMax bounds how long files wait for one that is written all the time.
	holdMax = 10 * time.Second
	// retryMin is the wait after the first fault. Most often a definition in the same file
	// has to be taken up by the API server, which takes less.
	retryMin = time.Second
	// retryMax bounds the wait between tries of a file that cannot be applied, for example
	// because its custom resource is defined by a chart that is still being installed.
	retryMax = 2 * time.Minute
)

// file is what is known of one file.
type file struct {
	found
	sum   [32]byte
	text  bool   // sum is of the file as it is
	refs  []ref  // what it holds, as it was last readable
	addon string // the name of its Addon; empty: not chosen yet
	// shadowed is set if another file has an object of this one, which was left to it.
	shadowed bool
	// failed has the places of the objects that remain to be applied. Nil: all.
	failed map[int]bool
	unread bool // it changed and was not looked into yet
	done   bool
	tries  int
	next   time.Time // do nothing before
	said   string    // the last event
}

// applier applies the manifests of one folder. It is for one goroutine.
type applier struct {
	dir      string
	disabled []string
	helm     bool
	log      *slog.Logger
	objects  objects
	store    addons
	recorder record.EventRecorder

	addons  map[string]addon // by name; this is their only writer
	files   map[string]*file // by path
	removed map[string]*file // of disabled ones, by path: how often it was tried

	changed bool      // files came or went, and nothing was done about it yet
	held    time.Time // since when files wait for another; zero: they do not
}

func newApplier(o Options) *applier {
	return &applier{
		dir: o.Dir, disabled: o.Disabled, helm: o.HelmRuns, log: o.Log,
		addons: map[string]addon{}, files: map[string]*file{}, removed: map[string]*file{},
	}
}

// remember takes up where the last process ended.
func (a *applier) remember(ctx context.Context) error {
	list, err := a.store.List(ctx)
	if err != nil {
		return err
	}
	clear(a.addons)
	for _, x := range list {
		a.addons[x.name] = x
	}
	return nil
}

// pass looks at the folder once and does what is due. It returns when to look again.
func (a *applier) pass(ctx context.Context, now time.Time) time.Duration {
	present, err := scan(a.dir)
	if err != nil {
		a.log.Warn("manifests: cannot read the folder", "dir", a.dir, "err", err)
		return pollInterval
	}
	changed := a.look(present, now) || a.changed
	if a.changed = changed; a.hold(now) {
		return a.wait(now)
	}
	a.changed = false
	a.christen(present)
	var due []string
	for _, path := range slices.Sorted(maps.Keys(a.files)) {
		f := a.files[path]
		if f.done || now.Before(f.next) {
			continue
		}
		before := f.sum
		if a.read(ctx, path, f, now) {
			due = append(due, path)
		}
		changed = changed || f.sum != before
	}
	if changed {
		// What a shadowed file left to another may be nobody else's now.
		for path, f := range a.files {
			if f.shadowed && f.text && !slices.Contains(due, path) {
				f.done, f.failed = false, nil
				due = append(due, path)
			}
		}
		slices.Sort(due)
	}
	owners := a.owners()
	results := map[string]outcome{}
	for _, path := range due {
		if ctx.Err() != nil {
			return 0
		}
		results[path] = a.apply(ctx, path, a.files[path], owners)
	}
	// Only now: an object that moved to another file is that file's by now.
	for _, path := range due {
		if ctx.Err() != nil {
			return 0
		}
		a.finish(ctx, path, a.files[path], owners, results[path], now)
	}
	a.uninstall(ctx, present, owners, now)
	return a.wait(now)
}

// hold reports whether a file is being written now. Then all wait for it: an object that
// moves from one file to another would be deleted before the other is read. But not for ever.
func (a *applier) hold(now time.Time) bool {
	for _, f := range a.files {
		if !f.unread || !now.Before(f.next) {
			continue
		}
		if a.held.IsZero() {
			a.held = now
		}
		return now.Sub(a.held) < holdMax
	}
	a.held = time.Time{}
	return false
}

// look compares the folder with what is known of it, and reports whether files came or went.
func (a *applier) look(present map[string]found, now time.Time) bool {
	changed := false
	for path := range a.files {
		if p, ok := present[path]; !ok || p.skipped {
			delete(a.files, path)
			changed = true
		}
	}
	for path, p := range present {
		if p.skipped || Disabled(display(a.dir, path), a.disabled) {
			continue
		}
		f := a.files[path]
		if f == nil {
			f = &file{}
			a.files[path] = f
			changed = true
		} else if f.stamp == p.stamp {
			continue
		}
		f.found, f.unread, f.done, f.next = p, true, false, time.Time{}
		if written := time.Unix(0, p.stamp.mtime); !written.After(now) {
			f.next = written.Add(settle)
		}
	}
	return changed
}

// christen names the Addons of new files, those nearer to the folder's root first.
func (a *applier) christen(present map[string]found) {
	depth := func(path string) int { return strings.Count(path, "/") }
	paths := slices.SortedFunc(maps.Keys(a.files), func(x, y string) int { return cmp.Or(depth(x)-depth(y), cmp.Compare(x, y)) })
	for _, path := range paths {
		if f := a.files[path]; f.addon == "" {
			f.addon = a.name(path, present)
		}
	}
}

// name chooses the name of a file's Addon: the one it has, or the best one that is no other
// file's. An Addon whose file is gone is taken over, as in k3s.
func (a *applier) name(path string, present map[string]found) string {
	taken := map[string]bool{}
	for _, x := range a.addons {
		if x.source == path {
			return x.name
		}
		if _, ok := present[x.source]; ok {
			taken[x.name] = true
		}
	}
	for _, f := range a.files {
		taken[f.addon] = true
	}
	names := addonNames(display(a.dir, path))
	for _, name := range names {
		if !taken[name] {
			return name
		}
	}
	return names[len(names)-1]
}

// owners says which file has an object: of several the last, which is the one that k3s too
// would apply last.
func (a *applier) owners() map[key]string {
	out := map[key]string{}
	for path, f := range a.files {
		for _, r := range f.refs {
			if k := r.key(); out[k] < path {
				out[k] = path
			}
		}
	}
	return out
}

// wait is how long nothing is due: pollInterval at most.
func (a *applier) wait(now time.Time) time.Duration {
	wait := pollInterval
	for _, files := range []map[string]*file{a.files, a.removed} {
		for _, f := range files {
			if !f.done {
				wait = min(wait, f.next.Sub(now))
			}
		}
	}
	return max(wait, 100*time.Millisecond)
}

// put writes the Addon if that changes it.
func (a *applier) put(ctx context.Context, x addon) error {
	x.objects = set(x.objects)
	have, ok := a.addons[x.name]
	if ok && have.equal(x) {
		return nil
	}
	uid, err := a.store.Put(ctx, x)
	if err != nil {
		return err
	}
	x.uid = uid
	a.addons[x.name] = x
	return nil
}

// retry notes a fault and when to try again.
func (f *file) retry(now time.Time) {
	f.next = now.Add(min(retryMin<<min(f.tries, 10), retryMax))
	f.tries++
}

// tell makes an event of the Addon, but not the one it made last: a fault that stays is told once.
func (a *applier) tell(f *file, kind, reason, format string, args ...any) {
	text := clip(fmt.Sprintf(format, args...))
	if f.said == reason+text {
		return
	}
	f.said = reason + text
	a.recorder.Event(reference(a.addons[f.addon]), kind, reason, text)
}

// clip bounds a message to what people read, and events hold: 1 kB.
func clip(text string) string {
	const limit = 1000
	if len(text) <= limit {
		return text
	}
	for i := range text {
		if i > limit {
			return text[:i] + " …"
		}
	}
	return text
}

// display is a file's name for people: relative to the folder.
func display(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}
