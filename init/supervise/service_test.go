package supervise

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/init/console"
	"github.com/keelson-os/keelson/init/logfile"
	"github.com/keelson-os/keelson/init/reap"
)

// fake is a process that ends after a while, or by a signal it does not ignore.
type fake struct {
	id    int
	ends  time.Duration // 0: runs until a signal
	stub  bool          // ignores SIGTERM
	quit  chan string
	heard []os.Signal
}

func (f *fake) pid() int { return f.id }

func (f *fake) signal(s os.Signal) error {
	f.heard = append(f.heard, s)
	if s == unix.SIGKILL || !f.stub {
		f.quit <- "died: " + s.String()
	}
	return nil
}

func (f *fake) wait() string {
	if f.ends == 0 {
		return <-f.quit
	}
	select {
	case reason := <-f.quit:
		return reason
	case <-time.After(f.ends):
		return "died: exit status 1"
	}
}

func newFake(ends time.Duration) *fake { return &fake{id: 7, ends: ends, quit: make(chan string, 2)} }

// starts runs a service whose lives last as given and returns when they began.
func starts(t *testing.T, ready bool, lives ...time.Duration) []time.Duration {
	var at []time.Duration
	synctest.Test(t, func(t *testing.T) {
		s := &Service{Name: "x", StopLimit: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var st state
		s.loop(ctx, &st, newSink("x", io.Discard, "", nil), func() (process, error) {
			at = append(at, time.Since(began))
			if len(at) > len(lives) {
				cancel()
				return nil, fmt.Errorf("the end")
			}
			go func() {
				time.Sleep(time.Millisecond) // it gets ready after its start
				st.mu.Lock()
				st.ready = ready
				st.mu.Unlock()
			}()
			return newFake(lives[len(at)-1]), nil
		})
	})
	return at
}

func TestPausesDoubleUpToTheirLimit(t *testing.T) {
	s := time.Second
	got := starts(t, false, s, s, s, s, s, s, s, s)
	want := []time.Duration{0, 2 * s, 5 * s, 10 * s, 19 * s, 36 * s, 67 * s, 98 * s, 129 * s}
	if !slices.Equal(got, want) {
		t.Errorf("starts at %v, want %v", got, want)
	}
}

func TestPausesBeginAnewAfterALongOrReadyRun(t *testing.T) {
	s := time.Second
	if got, want := starts(t, false, s, s, time.Minute, s), []time.Duration{0, 2 * s, 5 * s, 66 * s, 69 * s}; !slices.Equal(got, want) {
		t.Errorf("long run: starts at %v, want %v", got, want)
	}
	if got, want := starts(t, true, s, s, 10*s, s), []time.Duration{0, 2 * s, 5 * s, 16 * s, 19 * s}; !slices.Equal(got, want) {
		t.Errorf("ready run: starts at %v, want %v", got, want)
	}
}

func TestAServiceThatCannotStartIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{Name: "x"}
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		var reasons []string
		s.Exited = func(r string) { reasons = append(reasons, r) }
		s.loop(ctx, &state{}, newSink("x", io.Discard, "", nil), func() (process, error) {
			if n++; n == 3 {
				cancel()
			}
			return nil, os.ErrNotExist
		})
		if n != 3 || len(reasons) != 2 {
			t.Errorf("%d starts, reasons %q; want 3 and 2 reasons", n, reasons)
		}
	})
}

func TestStopAsksThenKills(t *testing.T) {
	for _, stub := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &Service{Name: "x", StopLimit: 10 * time.Second}
			ctx, cancel := context.WithCancel(t.Context())
			p := newFake(0)
			p.stub = stub
			began := time.Now()
			go func() {
				time.Sleep(time.Second)
				cancel()
			}()
			s.loop(ctx, &state{}, newSink("x", io.Discard, "", nil), func() (process, error) { return p, nil })
			want, took := []os.Signal{unix.SIGTERM}, time.Second
			if stub {
				want, took = append(want, unix.SIGKILL), 11*time.Second
			}
			if !slices.Equal(p.heard, want) || time.Since(began) != took {
				t.Errorf("ignores SIGTERM %v: heard %v after %v, want %v after %v", stub, p.heard, time.Since(began), want, took)
			}
		})
	}
}

// TestMain lets the test's program be the service.
func TestMain(m *testing.M) {
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" && os.Getenv("SUPERVISE_TEST") != "" {
		conn, err := net.Dial("unixgram", socket)
		if err != nil {
			fmt.Println("E0101 12:00:00 dial:", err)
			os.Exit(3)
		}
		fmt.Println("E0101 12:00:00 started")
		conn.Write([]byte("STATUS=working\nX_KEELSON_STEP=one 5 ok"))
		conn.Write([]byte("READY=1"))
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

func TestARealProcessIsHeardKilledAndRestarted(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var out strings.Builder
	con := console.New(writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		out.Write(p)
	}))
	log := logfile.New(dir, "x", 1<<20, 1)
	ready := make(chan bool, 10)
	reasons := make(chan string, 10)
	s := &Service{
		Name: "x", Path: os.Args[0], Env: []string{"SUPERVISE_TEST=1"}, Socket: filepath.Join(dir, "run", "notify"),
		OOMScore: 1, StopLimit: 5 * time.Second, Log: log, Console: con, Reaper: &reap.Reaper{},
		Notify: func(m Message) {
			if m.Ready {
				ready <- true
			}
		},
		Exited: func(r string) { reasons <- r },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-ready
	if i := s.Info(); !i.Ready || i.Status != "" {
		t.Errorf("Info = %+v, want ready, and what it waited for forgotten", i)
	}
	// A stranger's message does not count.
	conn, err := net.Dial("unixgram", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	conn.Write([]byte("READY=1"))
	conn.Close()
	pids, err := children()
	if err != nil || len(pids) != 1 {
		t.Fatalf("children = %v, %v, want one", pids, err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pids[0])); err != nil || strings.TrimSpace(string(b)) != "1" {
		t.Errorf("oom_score_adj = %q, %v, want 1", b, err)
	}
	unix.Kill(pids[0], unix.SIGKILL)
	if r := <-reasons; r != "died: signal: killed" {
		t.Errorf("reason %q, want %q", r, "died: signal: killed")
	}
	<-ready
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if len(ready) != 0 {
		t.Error("a message of another process was believed")
	}
	log.Close()
	if b, _ := os.ReadFile(log.Path()); strings.Count(string(b), "started") != 2 {
		t.Errorf("log is %q, want two starts", b)
	}
	con.Flush(time.Second)
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"keelson: x: working\n", "keelson: x: died: signal: killed; restart in 1s\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("console is %q, want %q in it", out.String(), want)
		}
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// children lists this process's children.
func children() ([]int, error) {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for s := range strings.FieldsSeq(string(b)) {
			var pid int
			fmt.Sscan(s, &pid)
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
