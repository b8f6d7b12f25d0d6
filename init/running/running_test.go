package running

import (
	"reflect"
	"testing"

	"github.com/keelson-os/keelson/init/cmdline"
)

func TestTheCommandLineSaysWhatRuns(t *testing.T) {
	got := Parse(cmdline.Parse("quiet roothash=AB12 keelson.board=pc keelson.version=0.1.0 keelson.serial=17:3 keelson.kubernetes=v1.37.2 keelson.keys=RWQ=,RWR=="))
	want := System{Board: "pc", Version: "0.1.0", Serial: 17, MinimumSerial: 3, Kubernetes: "v1.37.2", Keys: []string{"RWQ=", "RWR=="}, RootHash: "ab12"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Parse = %+v, want %+v", got, want)
	}
	for _, text := range []string{"", "keelson.serial=x:y keelson.keys=", "keelson.serial=-1:-1", "keelson.serial=99999999999999999999:1x"} {
		if got := Parse(cmdline.Parse(text)); !reflect.DeepEqual(got, System{}) {
			t.Errorf("Parse(%q) = %+v, want nothing", text, got)
		}
	}
}
