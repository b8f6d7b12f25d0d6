package flags

import (
	"slices"
	"testing"
)

func TestUsersFlagReplacesOurs(t *testing.T) {
	got := List{"a=1", "b=2", "c"}.Add([]string{"--b=3", "b=4", "d=5"}).Args()
	want := []string{"--a=1", "--c", "--b=3", "--b=4", "--d=5"}
	if !slices.Equal(got, want) {
		t.Errorf("Add().Args() = %q, want %q", got, want)
	}
}

func TestTakeFeatureGatesTable(t *testing.T) {
	for _, tc := range []struct {
		name  string
		have  map[string]bool
		user  []string
		rest  int
		gates map[string]bool
		bad   bool
	}{
		{"none", nil, []string{"v=2"}, 1, map[string]bool{}, false},
		{"several", nil, []string{"feature-gates=A=true, B=false", "--feature-gates=C=True"}, 0, map[string]bool{"A": true, "B": false, "C": true}, false},
		{"same again", map[string]bool{"A": true}, []string{"feature-gates=A=true"}, 0, map[string]bool{"A": true}, false},
		{"conflict", map[string]bool{"A": true}, []string{"feature-gates=A=false"}, 0, nil, true},
		{"no value", nil, []string{"feature-gates=A"}, 0, nil, true},
	} {
		gates := tc.have
		if gates == nil {
			gates = map[string]bool{}
		}
		rest, err := TakeFeatureGates(tc.user, gates)
		if (err != nil) != tc.bad {
			t.Errorf("%s: error = %v, want one: %t", tc.name, err, tc.bad)
			continue
		}
		if tc.bad {
			continue
		}
		if len(rest) != tc.rest || len(gates) != len(tc.gates) {
			t.Errorf("%s: rest %v, gates %v, want %d left and %v", tc.name, rest, gates, tc.rest, tc.gates)
		}
		for k, v := range tc.gates {
			if got, ok := gates[k]; !ok || got != v {
				t.Errorf("%s: gate %s = %t, %t, want %t", tc.name, k, got, ok, v)
			}
		}
	}
}
