package source

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/repo/v1"
	"sigs.k8s.io/yaml"
)

func TestIndexKeepsOnlyTheChartsOwnLines(t *testing.T) {
	const app = "- name: app\n    version: 1.0.0\n    urls: [a.tgz]\n"
	for _, tt := range []struct{ name, text string }{
		{"helm's own style", "apiVersion: v1\nentries:\n  a:\n  - name: a\n    version: 2.0.0\n  app:\n  " + app + "  b:\n  - name: b\n    version: 2.0.0\n"},
		{"quoted and with comments", "# index\n\"entries\":\n  # charts\n\n  'a': []\n  \"app\":\n  " + app},
		{"deeper lists", "entries:\n    app:\n      - name: app\n        version: 1.0.0\n        urls: [a.tgz]\n    b:\n      - name: b\n        version: 1.0.0\n"},
		{"entries are not first", "generated: now\nother:\n  app: x\nentries:\n  app:\n  " + app + "zzz: 1\n"},
		{"Windows line ends", strings.ReplaceAll("entries:\n  app:\n  "+app+"  b: []\n", "\n", "\r\n")},
		{"JSON", `{"apiVersion":"v1","entries":{"a":[],"app":[{"name":"app","version":"1.0.0","urls":["a.tgz"]}]}}`},
		{"no end of line", "entries:\n  app:\n  " + strings.TrimSuffix(app, "\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := index(strings.NewReader(tt.text), "app")
			if err != nil || len(got) != 1 || got[0].Version != "1.0.0" || len(got[0].URLs) != 1 {
				t.Errorf("index = %+v, %v, want version 1.0.0 alone", got, err)
			}
		})
	}
}

func TestIndexOfManyChartsIsNotHeldInMemory(t *testing.T) {
	var b strings.Builder
	b.WriteString("entries:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  chart%d:\n  - name: chart%d\n    version: 1.0.0\n    description: %s\n", i, i, strings.Repeat("x", 1000))
	}
	kept, err := entry(bufio.NewReader(strings.NewReader(b.String())), "chart7")
	if err != nil || len(kept) > 2000 {
		t.Errorf("of %d bytes %d are kept (%v), want less than 2000", b.Len(), len(kept), err)
	}
}

func TestIndexSkipsBrokenVersions(t *testing.T) {
	got, err := index(strings.NewReader("entries:\n  app:\n  -\n  - {}\n  - {name: app}\n  - {name: app, version: 1.0.0, urls: [x]}\n"), "app")
	if err != nil || len(got) != 1 {
		t.Errorf("index = %+v, %v, want one version", got, err)
	}
}

func FuzzIndexAgreesWithAWholeParse(f *testing.F) {
	f.Add("entries:\n  a: []\n  app:\n  - name: app\n    version: 1.0.0\n")
	f.Add("entries:\n  app:\n  - version: 1.0.0\n    description: >\n      more\n\n      text\n  b:\n  - version: 1\n")
	f.Add(`{"entries":{"app":[{"version":"1.0.0"}]}}`)
	f.Add("entries: {app: [{version: 1.0.0}]}\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := index(strings.NewReader(text), "app")
		if err != nil {
			return
		}
		_, _ = pick(got, "app", ">0")
		// What helm's own writer makes must be read the same, whatever is in it.
		var file repo.IndexFile
		if yaml.Unmarshal([]byte(text), &file) != nil || len(file.Entries) == 0 {
			return
		}
		normal, err := yaml.Marshal(file)
		if err != nil {
			return
		}
		var again repo.IndexFile
		if yaml.Unmarshal(normal, &again) != nil {
			return
		}
		want := 0
		for _, v := range again.Entries["app"] {
			if v != nil && v.Metadata != nil && v.Version != "" {
				want++
			}
		}
		got, err = index(strings.NewReader(string(normal)), "app")
		if err != nil || len(got) != want {
			t.Errorf("index = %d versions, %v, want %d in\n%s", len(got), err, want, normal)
		}
	})
}
