package pislot

import (
	"errors"
	"strings"
	"testing"
)

var all = []Text{{"a", "a", ""}, {"a", "a", "b"}, {"b", "a", "b"}, {"b", "b", "b"}, {"b", "b", ""}, {"b", "b", "a"}, {"a", "b", "a"}, {"a", "a", "a"}}

func TestSlotTextIsOneSectorOfShortLines(t *testing.T) {
	for _, x := range all {
		s := string(x.Bytes())
		if len(s) != Size || !strings.HasPrefix(s, "os_prefix=slot-"+x.Prefix+"/\n#") || !strings.HasSuffix(s, "\n") {
			t.Errorf("%+v: %d bytes, %.60q", x, len(s), s)
		}
		for line := range strings.Lines(s) {
			if len(line) > 98 || !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "os_prefix=") {
				t.Errorf("%+v: line %q", x, line)
			}
		}
		if got, err := Parse([]byte(s)); err != nil || got != x {
			t.Errorf("Parse(%+v) = %+v, %v", x, got, err)
		}
	}
}

func TestStatesInTheOrderOfATrialDifferInOneByte(t *testing.T) {
	for i := 1; i < len(all); i++ {
		a, b, n := all[i-1].Bytes(), all[i].Bytes(), 0
		for k := range a {
			if a[k] != b[k] {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%+v and %+v differ in %d bytes, want 1", all[i-1], all[i], n)
		}
	}
}

func TestParseTakesForeignSlotTextsAsTheFirmwareDoes(t *testing.T) {
	for text, want := range map[string]Text{
		"os_prefix=slot-b/\n" + strings.Repeat("#", 400) + "\n":       {"b", "b", ""},
		"os_prefix=slot-b/\n#keelson default=c trial=-\n":             {"b", "b", ""},
		"os_prefix=slot-a/\nos_prefix=slot-b/\n":                      {"b", "b", ""},
		"#keelson default=a trial=-\nos_prefix=slot-b/\n":             {"b", "b", ""},
		"os_prefix=slot-b/\n#keelson default=a trial=b":               {"b", "b", ""},
		"os_prefix=slot-b/\n#keelson default=a trial=b\n#and so on\n": {"b", "a", "b"},
	} {
		if got, err := Parse([]byte(text)); err != nil || got != want {
			t.Errorf("Parse(%.60q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "os_prefix=slot-c/\n", "#os_prefix=slot-a/\n", "os_prefix=slot-a"} {
		if got, err := Parse([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("Parse(%q) = %+v, %v, want ErrFormat", text, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Slot("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Parse(b)
		if err != nil {
			return
		}
		if again, err := Parse(got.Bytes()); err != nil || again != got {
			t.Errorf("Parse(Bytes(%+v)) = %+v, %v", got, again, err)
		}
	})
}
