package apply

import (
	"context"
	"slices"
)

// writeRoot writes the blocks of the root that are not right in their place.
func (j *job) writeRoot(ctx context.Context) error {
	at, _ := j.node.Root(j.slot)
	for from := 0; from < j.root.blocks; from += windowBlocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(from+windowBlocks, j.root.blocks)
		// All of the window is read before any of it is written: a block may move within it.
		runs := j.runs(from, end)
		var failed error
		for i, r := range runs {
			buf := j.buf[(r.from-from)*blockSize : (r.end-from)*blockSize]
			n, err := j.fill(ctx, j.root, r.from, buf, func(int) {})
			if err != nil {
				failed = err
				runs[i].end = r.from + n
				runs = runs[:i+1]
				break
			}
		}
		for _, r := range runs {
			if r.from == r.end {
				continue
			}
			if err := j.write(j.buf[(r.from-from)*blockSize:(r.end-from)*blockSize], at+int64(r.from)*blockSize); err != nil {
				return err
			}
			for i := r.from; i < r.end; i++ {
				// Again, for those that the bundle has twice.
				j.found(j.want[j.root.first+i], place{from: 1, stable: true, off: at + int64(i)*blockSize})
			}
		}
		if failed != nil {
			return failed
		}
		j.progress(PhaseRoot, min(int64(end)*blockSize, j.root.Size), j.root.Size)
	}
	return j.sync()
}

// run is blocks [from, end).
type run struct{ from, end int }

// runs are the blocks in [from, end) of the root that must be written.
func (j *job) runs(from, end int) []run {
	var out []run
	for i := from; i < end; i++ {
		if j.same[i] {
			continue
		}
		if len(out) > 0 && out[len(out)-1].end == i {
			out[len(out)-1].end++
		} else {
			out = append(out, run{i, i + 1})
		}
	}
	return out
}

// rootDiffers says whether a block of the root must be written.
func (j *job) rootDiffers() bool { return slices.Contains(j.same, false) }
