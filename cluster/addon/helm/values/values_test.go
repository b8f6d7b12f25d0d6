package values

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"
)

func str(s string) intstr.IntOrString { return intstr.FromString(s) }

func TestLaterFilesWinAndSetWinsOverAll(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []File
		set   map[string]intstr.IntOrString
		want  map[string]any
	}{
		{"nothing", nil, nil, map[string]any{}},
		{"an empty text and a comment", []File{{"a", nil}, {"b", []byte("# nothing\n")}}, nil, map[string]any{}},
		{
			"maps are merged, lists and scalars replaced",
			[]File{{"chart", []byte("a: {x: 1, l: [1, 2]}\nb: old\n")}, {"config", []byte("a: {l: [3], z: true}\nb: new")}},
			nil,
			map[string]any{"a": map[string]any{"x": 1.0, "l": []any{3.0}, "z": true}, "b": "new"},
		},
		{
			"a map replaces a scalar and the other way round",
			[]File{{"chart", []byte("a: 1\nb: {c: 2}\n")}, {"config", []byte("a: {c: 3}\nb: 4\n")}},
			nil,
			map[string]any{"a": map[string]any{"c": 3.0}, "b": 4.0},
		},
		{
			"null stays, so that helm removes the chart's default",
			[]File{{"chart", []byte("a: {b: 1}\n")}, {"config", []byte("a: {b: null}\n")}},
			nil,
			map[string]any{"a": map[string]any{"b": nil}},
		},
		{
			"two documents in one text",
			[]File{{"chart", []byte("a: 1\n---\na: 2\n")}}, nil,
			map[string]any{"a": 2.0},
		},
		{
			"JSON is YAML",
			[]File{{"values", []byte(`{"a":{"b":[1]}}`)}}, nil,
			map[string]any{"a": map[string]any{"b": []any{1.0}}},
		},
		{
			"set wins over the configuration",
			[]File{{"chart", []byte("a: {b: 1, c: 1}\n")}, {"config", []byte("a: {b: 2}\n")}},
			map[string]intstr.IntOrString{"a.b": intstr.FromInt32(3)},
			map[string]any{"a": map[string]any{"b": int64(3), "c": 1.0}},
		},
		{
			"types of set",
			nil,
			map[string]intstr.IntOrString{
				"int": intstr.FromInt32(-7), "text": str("7"), "yes": str("true"), "no": str("False"),
				"none": str("null"), "empty": str(""), "version": str("1.20"),
			},
			map[string]any{
				"int": int64(-7), "text": "7", "yes": true, "no": false,
				"none": nil, "empty": "", "version": "1.20",
			},
		},
		{
			"paths of set",
			nil,
			map[string]intstr.IntOrString{
				"a[0].b": str("x"), "a[1].b": intstr.FromInt32(1), `n\.io/key`: str("v"), "deep.er.est": str("true"),
			},
			map[string]any{
				"a":        []any{map[string]any{"b": "x"}, map[string]any{"b": int64(1)}},
				"n.io/key": "v",
				"deep":     map[string]any{"er": map[string]any{"est": true}},
			},
		},
		{
			"commas and equal signs in a text",
			nil,
			map[string]intstr.IntOrString{"a": str("x,y=z"), "b": str(`x\,y`), "c": str(`x\\,y`)},
			map[string]any{"a": "x,y=z", "b": "x,y", "c": `x\,y`},
		},
		{
			"a list in braces",
			nil,
			map[string]intstr.IntOrString{"a": str(`{x}`)},
			map[string]any{"a": []any{"x"}},
		},
		{
			"an item of a list that a file has",
			[]File{{"chart", []byte("a: [{b: 1, c: 2}]\n")}},
			map[string]intstr.IntOrString{"a[0].b": str("x")},
			map[string]any{"a": []any{map[string]any{"b": "x", "c": 2.0}}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Merge(tt.files, tt.set)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Merge = %#v, %v, want %#v", got, err, tt.want)
			}
		})
	}
}

func TestMergeRefusesWhatIsNoMapOfValues(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []File
		set   map[string]intstr.IntOrString
	}{
		{"a list", []File{{"spec.valuesContent", []byte("- a\n")}}, nil},
		{"a text", []File{{"spec.valuesContent", []byte("hello")}}, nil},
		{"broken YAML", []File{{"spec.valuesContent", []byte("a: [\n")}}, nil},
		{"tabs", []File{{"spec.valuesContent", []byte("a:\n\tb: 1\n")}}, nil},
		{"a list's index that is no number", nil, map[string]intstr.IntOrString{"a[x]": str("1")}},
		{"a huge index", nil, map[string]intstr.IntOrString{"a[9999999]": str("1")}},
		{"a map where a list is", []File{{"chart", []byte("a: 1\n")}}, map[string]intstr.IntOrString{"a.b": str("1")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := Merge(tt.files, tt.set); err == nil {
				t.Errorf("Merge = %#v, want an error", got)
			}
		})
	}
}

func FuzzSetNeverPanics(f *testing.F) {
	for _, k := range []string{"a", "a.b", "a[0].b", "a[0][1]", `a\.b`, "a[", "[", "]", "a..b", "=", ",", "a={b,c}", "a[-1]"} {
		f.Add(k, "value")
	}
	f.Add("a", `x\\,y{},=`)
	f.Fuzz(func(t *testing.T, key, value string) {
		_, _ = Merge([]File{{"base", []byte("a: {b: [1, {c: d}]}\n")}}, map[string]intstr.IntOrString{key: str(value)})
	})
}
