package cmdline

import (
	"reflect"
	"testing"
)

func TestParseSplitsAsTheKernelDoes(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     Params
	}{
		{"empty", "", nil},
		{"bare and value", "quiet root=/dev/vda1\n", Params{{"quiet", ""}, {"root", "/dev/vda1"}}},
		{"quoted value", `a="b c" d`, Params{{"a", "b c"}, {"d", ""}}},
		{"quoted whole", `"a=b c" d`, Params{{"a", "b c"}, {"d", ""}}},
		{"value with equals", "a=b=c", Params{{"a", "b=c"}}},
		{"end", "a -- b", Params{{"a", ""}}},
		{"open quote", `a="b c`, Params{{"a", "b c"}}},
	} {
		if got := Parse(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: Parse(%q) = %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func TestGetReturnsTheLast(t *testing.T) {
	if got, ok := Parse("a=1 b a=2").Get("a"); got != "2" || !ok {
		t.Errorf(`Get("a") = %q, %v, want "2", true`, got, ok)
	}
	if _, ok := Parse("ab=1").Get("a"); ok {
		t.Error(`Get("a") found "ab"`)
	}
}

func TestModuleOptions(t *testing.T) {
	p := Parse(`usb-storage.quirks=1:2:u loop.max_loop=8 usb_storage.delay_use=3 softdog.nowayout x.y="a b"`)
	for module, want := range map[string]string{
		"usb_storage": "quirks=1:2:u delay_use=3",
		"loop":        "max_loop=8",
		"softdog":     "nowayout",
		"x":           `y="a b"`,
		"ext4":        "",
	} {
		if got := p.ModuleOptions(module); got != want {
			t.Errorf("ModuleOptions(%q) = %q, want %q", module, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`a="b c" -- d`)
	f.Add(`"a b=c" d.e=f`)
	f.Fuzz(func(t *testing.T, s string) {
		p := Parse(s)
		if len(p) > len(s) {
			t.Fatalf("Parse(%q): %d parameters", s, len(p))
		}
		p.Get("a")
		p.ModuleOptions("d")
	})
}
