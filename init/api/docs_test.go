package api

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/machine"
)

func TestEveryRouteAndEveryFieldIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/machine-api.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, x := range routes {
		if !strings.Contains(text, "`"+x.method+" "+x.path) {
			t.Errorf("docs/machine-api.md does not have %s %s", x.method, x.path)
		}
	}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(v reflect.Type) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(v.Elem())
		case reflect.Struct:
			if seen[v] || v == reflect.TypeFor[time.Time]() {
				return
			}
			seen[v] = true
			for i := range v.NumField() {
				f := v.Field(i)
				walk(f.Type)
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name != "" && !strings.Contains(text, `"`+name+`"`) && !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "."+name+"`") {
					t.Errorf("docs/machine-api.md does not have the field %q of %s", name, v.Name())
				}
			}
		}
	}
	for _, v := range []any{
		machine.Status{}, machine.Service{}, machine.Process{}, machine.Disk{}, machine.Network{}, machine.Time{}, machine.Certificate{}, machine.Event{},
		machine.KernelMessage{}, machine.UpgradeRequest{}, machine.UpgradeMessage{}, machine.Rollback{}, machine.Reset{}, machine.ResetRequest{},
		machine.ConfigChange{}, machine.Renewal{}, machine.Error{},
	} {
		walk(reflect.TypeOf(v))
	}
}
