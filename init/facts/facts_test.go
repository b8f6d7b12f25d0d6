package facts

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keelson-os/keelson/machine"
)

// tree makes files below a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAProcessIsReadWhateverItIsCalled(t *testing.T) {
	began := time.Unix(1000, 0)
	p, err := parseStat("42 (a) (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 12345 1000000 256 18446744073709551615 1 1", began)
	want := machine.Process{PID: 42, Parent: 1, Name: "a) (b) c", State: "S", Threads: 7, CPU: 2, Memory: 256 * int64(os.Getpagesize()), Started: began.Add(123 * time.Second).UTC()}
	if err != nil || p != want {
		t.Errorf("parseStat = %+v, %v, want %+v", p, err, want)
	}
	for _, text := range []string{"", "42", "42 (x", "42 (x) S 1", "x (y) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 12345 1000000 256"} {
		if _, err := parseStat(text, began); err == nil {
			t.Errorf("parseStat(%q) = nil, want an error", text)
		}
	}
}

func TestAPodIsFoundInACgroup(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/kubepods/besteffort/pod1b4e28ba-2fa1-11d2-883f-0016d3cca427/abc":                             "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
		"0::/kubepods.slice/kubepods-pod.slice/pod1b4e28ba_2fa1_11d2_883f_0016d3cca427.slice/cri-x.scope": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
		"0::/node": "", "": "", "0::/kubepods/podx": "",
	} {
		if got := podOf(cgroup); got != want {
			t.Errorf("podOf(%q) = %q, want %q", cgroup, got, want)
		}
	}
}

func TestCommandLinesAreBounded(t *testing.T) {
	if got := command("/bin/x\x00--a\nb\x00\xff\x00"); got != "/bin/x --a b ?" {
		t.Errorf("command = %q", got)
	}
	if got := command(strings.Repeat("ä\x00", 1000)); len(got) > commandMax+len("…") || !strings.HasSuffix(got, "…") {
		t.Errorf("command of a long line has %d bytes", len(got))
	}
}

func TestTemperaturesOfZonesAndMonitorsAreNamedOnce(t *testing.T) {
	r := Roots{Sys: tree(t, map[string]string{
		"class/thermal/thermal_zone0/type": "cpu-thermal\n",
		"class/thermal/thermal_zone0/temp": "48312\n",
		"class/thermal/thermal_zone1/type": "off\n", // answers with an error while it sleeps
		"class/hwmon/hwmon0/name":          "cpu_thermal\n",
		"class/hwmon/hwmon0/temp1_input":   "48312\n",
		"class/hwmon/hwmon10/name":         "nvme\n",
		"class/hwmon/hwmon10/temp1_input":  "35850\n",
		"class/hwmon/hwmon10/temp1_label":  "Composite\n",
		"class/hwmon/hwmon2/name":          "coretemp\n",
		"class/hwmon/hwmon2/temp10_input":  "50000\n",
		"class/hwmon/hwmon2/temp2_input":   "-5000\n",
		"class/hwmon/hwmon2/temp3_input":   "99999999\n", // no sensor's
		"class/hwmon/hwmon2/in0_input":     "1200\n",
	})}
	want := []machine.Temperature{{Sensor: "cpu-thermal", Celsius: 48.312}, {Sensor: "coretemp", Celsius: -5}, {Sensor: "coretemp", Celsius: 50}, {Sensor: "nvme: Composite", Celsius: 35.85}}
	got := r.Temperatures()
	if len(got) != len(want) {
		t.Fatalf("Temperatures = %+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("Temperatures[%d] = %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestDisksHaveTheirPartitionsNamesAndCounts(t *testing.T) {
	r := Roots{Proc: tree(t, map[string]string{"self/mountinfo": ""}), Dev: t.TempDir(), Sys: tree(t, map[string]string{
		"block/vda/size":                     "2048000\n",
		"block/vda/queue/logical_block_size": "512\n",
		"block/vda/queue/rotational":         "1\n",
		"block/vda/ro":                       "0\n",
		"block/vda/serial":                   "abc\n",
		"block/vda/stat":                     "1 0 200 0 3 0 400 0 0 0 0\n",
		"block/vda/vda1/partition":           "1\n",
		"block/vda/vda1/start":               "32768\n",
		"block/vda/vda1/size":                "1000\n",
		"block/vda/vda1/uevent":              "MAJOR=254\nPARTN=1\nPARTNAME=esp\n",
		"block/vda/vda3/partition":           "3\n",
		"block/vda/vda3/uevent":              "PARTNAME=root-a\n",
		"block/loop0/size":                   "8\n",
	})}
	got, err := r.Disks("vda", "/dev/vda3")
	if err != nil || len(got) != 1 {
		t.Fatalf("Disks = %+v, %v, want vda alone", got, err)
	}
	d := got[0]
	if !d.Booted || !d.Rotating || d.Serial != "abc" || d.Size != 2048000*512 || d.Read != 200*512 || d.Written != 400*512 || len(d.Partitions) != 2 {
		t.Errorf("Disks = %+v", d)
	}
	if p := d.Partitions[0]; p.Label != "esp" || p.Start != 16<<20 || p.Size != 512000 || p.Booted {
		t.Errorf("partition 1 = %+v", p)
	}
	if p := d.Partitions[1]; p.Label != "root-a" || !p.Booted {
		t.Errorf("partition 3 = %+v", p)
	}
}

func TestASpaceIsThatOfTheMountThatIsSeen(t *testing.T) {
	dir := t.TempDir()
	r := Roots{Proc: tree(t, map[string]string{"self/mountinfo": "1 0 8:1 / " + dir + " rw - ext4 /dev/old rw\n2 1 8:2 / " + dir + " rw - ext4 /dev/new rw\n"})}
	got, ok := r.Space(dir)
	if !ok || got.Device != "/dev/new" || got.FSType != "ext4" || got.Size <= 0 || got.Used < 0 || got.Free > got.Size {
		t.Errorf("Space = %+v, %v, want that of /dev/new", got, ok)
	}
	if _, ok := r.Space(dir + "/x"); ok {
		t.Error("Space of what is not mounted = true")
	}
}

func TestThisMachineTellsItsFacts(t *testing.T) {
	if m, err := System.Memory(); err != nil || m.Total < m.Available || m.Available <= 0 {
		t.Errorf("Memory = %+v, %v", m, err)
	}
	if l := System.Load(); len(l) != 3 {
		t.Errorf("Load = %v", l)
	}
	if System.Uptime() <= 0 || System.CPUs() < 1 || System.Kernel() == "" || System.Hostname() == "" {
		t.Errorf("Uptime %v, CPUs %d, Kernel %q, Hostname %q", System.Uptime(), System.CPUs(), System.Kernel(), System.Hostname())
	}
	ps, err := System.Processes(strings.ToUpper)
	found := false
	for _, p := range ps {
		if p.PID == os.Getpid() {
			found = true
			if p.Command == "" || p.Command != strings.ToUpper(p.Command) || p.User != os.Geteuid() || time.Since(p.Started).Abs() > 24*time.Hour {
				t.Errorf("this process = %+v, want its command hidden", p)
			}
		}
	}
	if err != nil || !found {
		t.Errorf("Processes does not have this one: %v", err)
	}
	var c machine.Time
	if err := System.Clock(&c); err != nil || time.Since(c.Now).Abs() > time.Minute {
		t.Errorf("Clock = %+v, %v", c, err)
	}
}

func TestKernelMessagesAreReadAndFollowingEnds(t *testing.T) {
	began := time.Unix(5000, 0)
	m, err := parseRecord([]byte("30,339,5140900,-;NET: Registered\\x09 \\xc3\\xa4 \\x1b[2J\n SUBSYSTEM=x\n"), began)
	if err != nil || m.Level != 6 || m.Facility != 3 || m.Sequence != 339 || m.Since != 5.1409 || m.Text != "NET: Registered\t ä \\x1b[2J" || !m.Time.Equal(began.Add(5140900*time.Microsecond)) {
		t.Errorf("parseRecord = %+v, %v", m, err)
	}
	for _, text := range []string{"", "x", "6,1,2;text", "-1,1,2,-;x", "6,a,2,-;x", "6,1,b,-;x"} {
		if _, err := parseRecord([]byte(text), began); err == nil {
			t.Errorf("parseRecord(%q) = nil, want an error", text)
		}
	}
	count := 0
	err = System.KernelLog(context.Background(), false, func(machine.KernelMessage) error { count++; return nil })
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("this machine shows no kernel log: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	ended := make(chan error, 1)
	go func() { ended <- System.KernelLog(ctx, true, func(machine.KernelMessage) error { return nil }) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("KernelLog, its context ended = %v, want nil", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("KernelLog goes on after its context has ended")
	}
}

func FuzzParsersBelieveNothing(f *testing.F) {
	for _, seed := range []string{
		"42 (x) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 12345 1000000 256 0", "30,339,5140900,-;text\\xff", "MemTotal: 5 kB",
		"0.1 0.2 0.3 1/2 3", "1.5 2", "nameserver 192.0.2.1\nsearch a b", "0::/kubepods/pod1b4e28ba-2fa1-11d2-883f-0016d3cca427", "NaN NaN NaN", "1e400 1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parseStat(text, time.Time{})
		if m, err := parseRecord([]byte(text), time.Time{}); err == nil && (m.Level < 0 || m.Level > 7) {
			t.Errorf("parseRecord(%q): level %d", text, m.Level)
		}
		if m := parseMeminfo(text); m.Total < 0 || m.Available < 0 {
			t.Errorf("parseMeminfo(%q) = %+v", text, m)
		}
		for _, x := range parseLoad(text) {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				t.Errorf("parseLoad(%q) = %v, which JSON cannot say", text, x)
			}
		}
		if parseUptime(text) < 0 {
			t.Errorf("parseUptime(%q) is negative", text)
		}
		parseResolv(text)
		podOf(text)
		effectiveUser(text)
		command(text)
		celsius(text)
	})
}
