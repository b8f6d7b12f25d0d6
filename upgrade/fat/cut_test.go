package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/powercut"
	"github.com/keelson-os/keelson/tests/reftool"
)

// tree returns all files of a volume with their content, by path.
func tree(v *Volume) (map[string]string, error) {
	out := map[string]string{}
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := v.List(dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			path := strings.TrimPrefix(dir+"/"+e.Name, "/")
			if e.Dir {
				out[path+"/"] = ""
				if err := walk(path); err != nil {
					return err
				}
				continue
			}
			if _, ok := out[path]; ok {
				continue // readers take the first
			}
			f, err := v.OpenFile(path)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			out[path] = string(b)
		}
		return nil
	}
	return out, walk("")
}

func mustTree(t testing.TB, r io.ReaderAt, size int64) map[string]string {
	t.Helper()
	v, err := Open(r, size)
	if err != nil {
		t.Fatal(err)
	}
	m, err := tree(v)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// fsck lets the reference checker look at a volume.
func fsck(t testing.TB, what string, r io.ReaderAt, size int64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fat")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, io.NewSectionReader(r, 0, size))
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(reftool.Need(t, "fsck.vfat", "dosfstools"), "-n", "-v", file).CombinedOutput(); err != nil {
		t.Errorf("%s: fsck.vfat -n: %v\n%s", what, err, out)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

const volumeSize = 34 << 20

func base(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(volume(t, volumeSize, map[string][]byte{
		"keelson.yaml": content(4, 3000), "EFI/Linux/keelson_2_b+3.efi": content(5, 40_000), "slot-a/dtb/rockchip/x.dtb": content(6, 700), "slot.txt": bytes.Repeat([]byte("#"), 512),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var operations = []struct {
	name string
	do   func(v *Volume) error
	// middle: the operation has a state of its own between before and after: the files of both.
	middle bool
}{
	{"new file", func(v *Volume) error {
		return v.Create("EFI/Linux/keelson_b.new", 30_000, bytes.NewReader(content(7, 30_000)), noon)
	}, false},
	{"new empty file", func(v *Volume) error { return v.WriteFile("empty", nil, noon) }, false},
	{"replace", func(v *Volume) error { return v.WriteFile("keelson.yaml", content(8, 5000), noon) }, false},
	{"replace deep", func(v *Volume) error { return v.WriteFile("slot-a/dtb/rockchip/x.dtb", content(8, 500), noon) }, false},
	{"remove", func(v *Volume) error { return v.Remove("EFI/Linux/keelson_2_b+3.efi") }, false},
	{"remove a folder", func(v *Volume) error { return v.Remove("slot-a") }, false},
	{"rename", func(v *Volume) error { return v.Rename("EFI/Linux/keelson_2_b+3.efi", "EFI/Linux/keelson_3_b.efi") }, true},
	{"make a folder", func(v *Volume) error { return v.Mkdir("slot-b", noon) }, false},
	{"overwrite", func(v *Volume) error { return v.Overwrite("slot.txt", 17, []byte("-")) }, false},
}

// Of every operation and every cut of it: before or after, no other file is touched, and Heal makes the checker content.
func TestEveryCutAndEveryTearLeavesTheStateBeforeOrAfter(t *testing.T) {
	image := base(t)
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			r := powercut.Record(bytes.NewReader(image), volumeSize)
			v, err := Open(r, volumeSize)
			if err != nil {
				t.Fatal(err)
			}
			if err := op.do(v); err != nil {
				t.Fatal(err)
			}
			before, after := mustTree(t, bytes.NewReader(image), volumeSize), mustTree(t, r, volumeSize)
			if maps.Equal(before, after) {
				t.Fatal("nothing was done")
			}
			allowed := []map[string]string{before, after}
			if op.middle {
				both := maps.Clone(before)
				maps.Copy(both, after)
				allowed = append(allowed, both)
			}
			fsck(t, "done", r, volumeSize)
			rnd := rand.New(rand.NewPCG(2, 3))
			seen := map[int]bool{}
			checks := 0
			for cut := 0; cut <= r.Operations(); cut++ {
				disks, err := r.Tears(cut)
				if err != nil {
					t.Fatal(err)
				}
				for range 10 {
					d, err := r.Cut(cut, rnd)
					if err != nil {
						t.Fatal(err)
					}
					disks = append(disks, d)
				}
				for i, d := range disks {
					what := fmt.Sprintf("cut %d of %d, disk %d", cut, r.Operations(), i)
					got := mustTree(t, d, volumeSize)
					k := slices.IndexFunc(allowed, func(m map[string]string) bool { return maps.Equal(m, got) })
					if k < 0 || cut == r.Operations() && k != 1 {
						t.Fatalf("%s: %v, want %v or %v", what, names(got), names(before), names(after))
					}
					seen[k] = true
					if checks++; checks%11 != 0 {
						continue
					}
					v, err := Open(d, volumeSize)
					if err != nil {
						t.Fatal(err)
					}
					if err := v.Heal(); err != nil {
						t.Fatalf("%s: Heal: %v", what, err)
					}
					healed := mustTree(t, d, volumeSize)
					if !maps.Equal(got, healed) {
						t.Fatalf("%s: healed: %v, want %v", what, names(healed), names(got))
					}
					if both := k == 2 || op.name == "link" && k == 1; !both && checks%77 == 0 {
						fsck(t, what+", healed", d, volumeSize)
					}
				}
			}
			if !seen[0] || !seen[1] {
				t.Errorf("seen %v, want before (0) and after (1)", seen)
			}
		})
	}
}

func names(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, fmt.Sprintf("%s (%d)", k, len(v)))
	}
	slices.Sort(out)
	return out
}

func TestHealWritesNothingToASoundVolume(t *testing.T) {
	r := powercut.Record(bytes.NewReader(base(t)), volumeSize)
	v, err := Open(r, volumeSize)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Heal(); err != nil || r.Operations() > 0 {
		t.Errorf("Heal = %v, %d operations, want none", err, r.Operations())
	}
}

func TestRemoveKeepsClustersThatAnotherNameHas(t *testing.T) {
	d := powercut.New(bytes.NewReader(base(t)), volumeSize)
	v, err := Open(d, volumeSize)
	if err != nil {
		t.Fatal(err)
	}
	const old, name = "EFI/Linux/keelson_2_b+3.efi", "EFI/Linux/keelson_3_b.efi"
	free := v.Free()
	if err := errors.Join(v.Link(old, name), v.Remove(old)); err != nil {
		t.Fatal(err)
	}
	if got := mustTree(t, d, volumeSize)[name]; got != string(content(5, 40_000)) || v.Free() != free {
		t.Errorf("%s has %d bytes, %d are free; want 40000, %d", name, len(got), v.Free(), free)
	}
	fsck(t, "renamed", d, volumeSize)
	if err := v.Remove(name); err != nil || v.Free() <= free {
		t.Errorf("Remove of the last name = %v, %d bytes are free, were %d", err, v.Free(), free)
	}
	fsck(t, "removed", d, volumeSize)
}

// The disk fails at each operation of each change in turn: the same Volume goes on afterwards without having lost clusters.
func TestAFailedChangeLosesNoClusters(t *testing.T) {
	image := base(t)
	grow := func(v *Volume) error { // more names than the folder's cluster has room for
		for i := range 12 {
			if err := v.WriteFile(fmt.Sprintf("slot-a/some-longer-name-%d", i), content(1, 600), noon); err != nil {
				return err
			}
		}
		return nil
	}
	for name, do := range map[string]func(v *Volume) error{"grow": grow, "create": operations[0].do, "replace": operations[2].do, "mkdir": operations[8].do} {
		whole := powercut.Record(bytes.NewReader(image), volumeSize)
		v, err := Open(whole, volumeSize)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(v); err != nil {
			t.Fatal(err)
		}
		want := v.Free()
		for n := range whole.Operations() {
			d := powercut.Record(bytes.NewReader(image), volumeSize)
			v, err := Open(d, volumeSize)
			if err != nil {
				t.Fatal(err)
			}
			d.FailAt = n
			if err := do(v); !errors.Is(err, powercut.ErrFailed) {
				t.Fatalf("%s, failing at %d: %v, want ErrFailed", name, n, err)
			}
			d.FailAt = -1
			if v, err = Open(d, volumeSize); err != nil {
				t.Fatal(err)
			}
			if err := v.Heal(); err != nil {
				t.Fatal(err)
			}
			if name == "grow" || name == "replace" || name == "create" {
				if err := do(v); err != nil {
					t.Fatal(err)
				}
			} else if err := do(v); err != nil {
				t.Fatal(err)
			}
			if v.Free() != want {
				t.Errorf("%s, failing at %d and done again: %d bytes are free, want %d", name, n, v.Free(), want)
			}
			if n%17 == 0 {
				fsck(t, fmt.Sprintf("%s, failing at %d", name, n), d, volumeSize)
			}
		}
	}
}

// A reader that fails takes nothing, in the same Volume.
func TestCreateFromABrokenReaderTakesNothing(t *testing.T) {
	d := powercut.New(bytes.NewReader(base(t)), volumeSize)
	v, err := Open(d, volumeSize)
	if err != nil {
		t.Fatal(err)
	}
	free, before := v.Free(), mustTree(t, d, volumeSize)
	if err := v.Create("new", 100_000, bytes.NewReader(make([]byte, 99_999)), noon); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Create = %v, want io.ErrUnexpectedEOF", err)
	}
	if v.Free() != free || !maps.Equal(before, mustTree(t, d, volumeSize)) {
		t.Errorf("%d bytes are free, want %d", v.Free(), free)
	}
	fsck(t, "after a failed Create", d, volumeSize)
}

// FuzzChanges does any sequence of changes, compares the volume with a map, and lets the reference checker look at it.
func FuzzChanges(f *testing.F) {
	image := base(f)
	f.Add([]byte{0, 1, 9, 1, 1, 9, 2, 0, 1, 3, 2, 3, 4, 1, 0, 5, 5, 1})
	f.Add([]byte{0, 0, 255, 0, 1, 255, 0, 2, 0, 0, 3, 200, 4, 0, 4, 2, 1, 1, 1, 3, 1, 1, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		d := powercut.New(bytes.NewReader(image), volumeSize)
		v, err := Open(d, volumeSize)
		if err != nil {
			t.Fatal(err)
		}
		want := mustTree(t, d, volumeSize)
		pool := []string{"keelson.yaml", "EFI/Linux/keelson_2_b+3.efi", "EFI/Linux/n+2-1.efi", "slot-a/dtb/y", "a-name-of-more-than-26-letters-in-it.yaml", "x", "slot-b/z"}
		if len(script) > 60 {
			script = script[:60]
		}
		for ; len(script) >= 3; script = script[3:] {
			name, other := pool[int(script[1])%len(pool)], pool[int(script[2])%len(pool)]
			_, exists := want[name]
			dir := filepath.Dir(name) + "/"
			_, inside := want[dir]
			inside = inside || dir == "./"
			switch script[0] % 5 {
			case 0:
				b := content(uint64(script[2]), int(script[2])*37)
				err := v.Create(name, int64(len(b)), bytes.NewReader(b), noon)
				if (err == nil) != inside {
					t.Fatalf("Create(%s) = %v", name, err)
				}
				if inside {
					want[name] = string(b)
				}
			case 1:
				if err := v.Remove(name); (err == nil) != exists {
					t.Fatalf("Remove(%s) = %v", name, err)
				}
				delete(want, name)
			case 2:
				_, taken := want[other]
				otherDir := filepath.Dir(other) + "/"
				_, there := want[otherDir]
				there = there || otherDir == "./"
				err := v.Rename(name, other)
				if ok := exists && !taken && there; (err == nil) != ok {
					t.Fatalf("Rename(%s, %s) = %v", name, other, err)
				} else if ok {
					want[other] = want[name]
					delete(want, name)
				}
			case 3:
				if err := v.Mkdir("slot-b/dtb", noon); err != nil {
					t.Fatal(err)
				}
				want["slot-b/"], want["slot-b/dtb/"] = "", ""
			case 4:
				err := v.Remove("slot-b")
				_, there := want["slot-b/"]
				if (err == nil) != there {
					t.Fatalf("Remove(slot-b) = %v", err)
				}
				maps.DeleteFunc(want, func(k, _ string) bool { return strings.HasPrefix(k, "slot-b/") })
			}
		}
		if got := mustTree(t, d, volumeSize); !maps.Equal(got, want) {
			t.Fatalf("volume has %v, want %v", names(got), names(want))
		}
		fsck(t, "in the end", d, volumeSize)
	})
}
