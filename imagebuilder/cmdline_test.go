package imagebuilder

import (
	"slices"
	"strings"
	"testing"

	"github.com/keelson-os/keelson/boards"
)

func TestCommandLineSaysWhatTheNodeRuns(t *testing.T) {
	b := &builder{board: &boards.Board{Name: "pc"}, opts: Options{Version: "0.2.0", Serial: 1700000000, MinimumSerial: 12}}
	want := []string{"keelson.board=pc", "keelson.version=0.2.0", "keelson.serial=1700000000:12"}
	if got := b.identity(""); !slices.Equal(got, want) {
		t.Errorf("identity without Kubernetes and keys = %q, want %q", got, want)
	}
	if got, want := b.identity("v1.37.2"), append(want, "keelson.kubernetes=v1.37.2"); !slices.Equal(got, want) {
		t.Errorf("identity = %q, want %q", got, want)
	}
}

func TestKargsCannotSayWhatTheBuildSays(t *testing.T) {
	for name := range reserved {
		for _, k := range []string{name + "=x", name, `"` + name + `=x"`} {
			if err := checkKargs([]string{"quiet", k}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("checkKargs(%q) = %v, want a refusal of %s", k, err, name)
			}
		}
	}
	for _, k := range []string{"", "a\nb", "a b", "a\x00"} {
		if err := checkKargs([]string{k}); err == nil {
			t.Errorf("checkKargs(%q) = nil, want a refusal", k)
		}
	}
	if err := checkKargs([]string{"mitigations=off", "keelson.gate=3", `dyndbg="file a +p"`, "keelson.keysize=1"}); err != nil {
		t.Errorf("checkKargs = %v, want nil", err)
	}
}
