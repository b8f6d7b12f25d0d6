package grubenv

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/tests/reftool"
)

func mustBlock(t testing.TB, variables ...Variable) []byte {
	t.Helper()
	b, err := Block(variables...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func editenv(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(reftool.Need(t, "grub-editenv", "grub-common"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("grub-editenv %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestBlockIsReadAndChangedByGrubEditenv(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trial")
	if err := os.WriteFile(file, mustBlock(t, Variable{"ab_try", "b"}, Variable{"ab_left", "3"}, Variable{"ab_tgen", "41"}), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := editenv(t, file, "list"), "ab_try=b\nab_left=3\nab_tgen=41\n"; got != want {
		t.Errorf("grub-editenv list = %q, want %q", got, want)
	}
	editenv(t, file, "set", "ab_left=2")
	changed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// What GRUB counts down is what the node would have written.
	if want := mustBlock(t, Variable{"ab_try", "b"}, Variable{"ab_left", "2"}, Variable{"ab_tgen", "41"}); !bytes.Equal(changed, want) {
		t.Errorf("grub-editenv wrote %q, want %q", changed, want)
	}
}

func TestVariablesReadsWhatGrubEditenvWrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	editenv(t, file, "create")
	want := []Variable{{"a", `with \ and = and #`}, {"b", ""}, {"c", "x y"}}
	for _, v := range want {
		editenv(t, file, "set", v.Name+"="+v.Value)
	}
	block, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Variables(block)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Variables = %q, %v, want %q", got, err, want)
	}
}

func TestVariablesOfDamagedBlocks(t *testing.T) {
	whole := mustBlock(t, Variable{"ab_default", "b"}, Variable{"ab_gen", "7"})
	for _, tt := range []struct {
		name  string
		block []byte
		want  []Variable
		err   error
	}{
		{"empty", nil, nil, ErrNotBlock},
		{"zeros", make([]byte, BlockSize), nil, ErrNotBlock},
		{"signature cut", whole[:len(signature)-1], nil, ErrNotBlock},
		{"signature alone", whole[:len(signature)], nil, nil},
		{"cut in a name", whole[:len(signature)+4], nil, nil},
		{"cut in a value", whole[:len(signature)+len("ab_default=b")], nil, nil},
		{"cut behind a line", whole[:len(signature)+len("ab_default=b\n")], []Variable{{"ab_default", "b"}}, nil},
		{"ends in a backslash", []byte(signature + `a=\`), nil, nil},
		{"backslash before the line break", []byte(signature + "a=\\\n"), nil, nil},
		{"comment", []byte(signature + "# b=2\na=1\n"), []Variable{{"a", "1"}}, nil},
		{"NUL", []byte(signature + "a=1\x002\n"), []Variable{{"a", "1"}}, nil},
	} {
		got, err := Variables(tt.block)
		if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) {
			t.Errorf("%s: Variables = %q, %v, want %q, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestBlockRefusesWhatItCannotHold(t *testing.T) {
	room := BlockSize - len(signature) - len("a=\n")
	for _, v := range []Variable{{"", "x"}, {"a=b", "x"}, {"#a", "x"}, {"a", "x\ny"}, {"a", `\`}, {"a\x00", "x"}, {"a", strings.Repeat("x", room+1)}} {
		if b, err := Block(v); err == nil {
			t.Errorf("Block(%.20q) = %.60q, want an error", v, b)
		}
	}
	if b := mustBlock(t, Variable{"a", strings.Repeat("x", room)}); len(b) != BlockSize {
		t.Errorf("Block of all it can hold has %d bytes, want %d", len(b), BlockSize)
	}
}

func TestANewDiskHasSlotACommittedTwiceAndNoTrial(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	want := []Variable{{"ab_default", "a"}, {"ab_gen", "1"}}
	for _, sector := range []int{CommittedSector - StateSector, CopySector - StateSector} {
		got, err := Variables(s[sector*BlockSize:][:BlockSize])
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("sector %d: %q, %v, want %q", sector, got, err, want)
		}
	}
	r := tar.NewReader(bytes.NewReader(s[:(CommittedSector-StateSector)*BlockSize]))
	h, err := r.Next()
	if err != nil || h.Name != TrialName || h.Size != BlockSize {
		t.Fatalf("archive: %+v, %v, want the file %s of %d bytes", h, err, TrialName, BlockSize)
	}
	trial, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(trial, mustBlock(t)) || !bytes.Equal(trial, s[(TrialSector-StateSector)*BlockSize:][:BlockSize]) {
		t.Errorf("trial block: %.60q, %v, want an empty one in sector %d", trial, err, TrialSector-StateSector)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("archive goes on: %v", err)
	}
}

func FuzzVariables(f *testing.F) {
	f.Add(mustBlock(f, Variable{"ab_default", "b"}, Variable{"ab_gen", "7"}))
	f.Add([]byte(signature + "a=\\"))
	f.Add([]byte(signature + "#\\\na=b\\\nc\n=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Variables(b)
		if err != nil {
			if !errors.Is(err, ErrNotBlock) {
				t.Errorf("variables: %v does not wrap ErrNotBlock", err)
			}
			return
		}
		block, err := Block(got...)
		if err != nil {
			return // names and values that only an escape, or a larger block, can hold
		}
		if again, err := Variables(block); err != nil || !slices.Equal(got, again) {
			t.Errorf("variables(Block(%q)) = %q, %v", got, again, err)
		}
	})
}
