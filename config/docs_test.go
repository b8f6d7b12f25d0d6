package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var code = regexp.MustCompile("`([^`]+)`")

// rows returns what the second column of the document's tables says about each thing that
// its first column names.
func rows(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			if _, dup := out[m[1]]; dup { // the flags come first
				continue
			}
			out[m[1]] = strings.TrimSpace(strings.Join(cells[2:], "|"))
		}
	}
	return out
}

func TestDocumentsSayWhatHappensToEveryKeyOfK3s(t *testing.T) {
	compat, own := rows(t, "../docs/k3s-compatibility.md"), rows(t, "../docs/configuration.md")
	for _, k := range clusterKeys {
		if got := compat[k]; !strings.HasPrefix(got, "same") && !strings.HasPrefix(got, "different") && k != "server" {
			t.Errorf("k3s-compatibility.md says of %s: %q, want same or different", k, got)
		}
		if _, ok := own[k]; !ok {
			t.Errorf("configuration.md does not explain %s", k)
		}
	}
	for k := range refusals {
		if got := compat[k]; !strings.HasPrefix(got, "refused") {
			t.Errorf("k3s-compatibility.md says of %s: %q, want refused", k, got)
		}
		if _, ok := own[k]; ok {
			t.Errorf("configuration.md explains %s, which is refused", k)
		}
	}
	for k, fact := range facts {
		want := map[bool]string{true: "true", false: "false"}[fact]
		if got := compat[k]; !strings.Contains(got, want) || !strings.Contains(got, "accepted") {
			t.Errorf("k3s-compatibility.md says of %s: %q, want that %s is accepted", k, got, want)
		}
	}
	for _, name := range packaged {
		if _, ok := compat[name]; !ok {
			t.Errorf("k3s-compatibility.md does not have the component %s", name)
		}
	}
}
