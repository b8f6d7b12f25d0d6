package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/keelson-os/keelson/flash"
	"github.com/keelson-os/keelson/flash/drive"
)

// flashRounds is how often each of the two writes; the median counts.
const flashRounds = 5

// flashSpeed is how fast an image is written to a file, in bytes per second.
type flashSpeed struct {
	ours, dd float64
	reading  float64 // of reading back and comparing
}

// ratio is ours to dd's; 0 when it was not measured.
func (s flashSpeed) ratio() float64 {
	if s.dd == 0 {
		return 0
	}
	return s.ours / s.dd
}

// line is the table's.
func (s flashSpeed) line() string {
	verdict := "pass"
	if s.ratio() < 0.9 {
		verdict = "misses"
	}
	return fmt.Sprintf("| flash: writing, against \"dd oflag=direct bs=4M conv=fsync\" to the same file | %.2f (%.0f and %.0f MB/s) | ≥ 0.90 | %s; reading back and comparing: %.0f MB/s |\n",
		s.ratio(), s.ours/mb, s.dd/mb, verdict, s.reading/mb)
}

// quiet is a progress that nobody looks at.
type quiet struct{}

func (quiet) Step(string, int64) {}
func (quiet) Done(int64)         {}

// flash measures flashing of the built image.
func (b *bench) flash(ctx context.Context) (err error) {
	b.r.flash, err = measureFlash(ctx, b.lab.Image, b.dir)
	return err
}

// measureFlash writes a copy of the image that has no empty parts, which would cost dd
// more than us, to a file in dir: by dd and by us in turns.
func measureFlash(ctx context.Context, image, dir string) (s flashSpeed, err error) {
	dense, target := filepath.Join(dir, "dense.img"), filepath.Join(dir, "target.img")
	defer func() { err = errors.Join(err, remove(dense), remove(target)) }()
	if err := fill(ctx, image, dense); err != nil {
		return s, err
	}
	img, err := flash.OpenImage(ctx, dense, quiet{})
	if err != nil {
		return s, err
	}
	var ours, dd, reading []float64
	for range flashRounds {
		if err := remove(target); err != nil {
			return s, err
		}
		began := time.Now()
		if out, err := exec.CommandContext(ctx, "dd", "if="+dense, "of="+target, "bs=4M", "oflag=direct", "conv=fsync").CombinedOutput(); err != nil {
			return s, fmt.Errorf("dd: %w: %s", err, out)
		}
		dd = append(dd, float64(img.Size)/time.Since(began).Seconds())

		if err := remove(target); err != nil {
			return s, err
		}
		r, err := flashOnce(ctx, img, target)
		if err != nil {
			return s, err
		}
		ours = append(ours, float64(r.Bytes)/r.Writing.Seconds())
		reading = append(reading, float64(r.Bytes)/r.Reading.Seconds())
	}
	return flashSpeed{ours: median(ours), dd: median(dd), reading: median(reading)}, nil
}

func flashOnce(ctx context.Context, img *flash.Image, target string) (r flash.Result, err error) {
	d, err := drive.Find(ctx, target)
	if err != nil {
		return r, err
	}
	dev, err := d.Open(ctx, img.Size, nil)
	if err != nil {
		return r, err
	}
	r, err = flash.Write(ctx, img, dev, flash.Options{}, quiet{})
	return r, errors.Join(err, dev.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// fill copies an image and puts noise where it has zeros behind the first MiB.
func fill(ctx context.Context, from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := make([]byte, 1<<20)
	for at := 0; ; at++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(in, buf)
		if at > 0 && !slices.ContainsFunc(buf[:n], func(c byte) bool { return c != 0 }) {
			_, _ = rand.Read(buf[:n]) // never fails
		}
		if _, werr := out.Write(buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
