package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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
)

// newServer serves on a socket in a new folder until the test ends.
func newServer(t *testing.T, s *Server) Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "init.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v, want mode 0600", info, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return Client{path}
}

// asks notes what was asked of it.
type asks struct {
	mu   sync.Mutex
	list []string
}

func (a *asks) add(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, fmt.Sprintf(format, args...))
}

func (a *asks) server() *Server {
	return &Server{
		Status:  func() Status { return Status{Slot: "a", Services: []Service{{Name: "node", PID: 7}}} },
		Trial:   func() *Trial { return nil },
		Restart: func(service, by string) error { a.add("restart %s %s", service, by); return nil },
		End:     func(op Op, what, by string) error { a.add("%s %s %s", op, what, by); return nil },
		Events:  &Ring{},
	}
}

func TestEveryOperationGetsWhereItBelongs(t *testing.T) {
	var a asks
	c := newServer(t, a.server())
	ctx := t.Context()
	st, err := c.Status(ctx)
	if err != nil || st.Slot != "a" || len(st.Services) != 1 || st.Services[0].PID != 7 {
		t.Errorf("Status = %+v, %v", st, err)
	}
	if tr, err := c.Trial(ctx); tr != nil || err != nil {
		t.Errorf("Trial = %+v, %v, want none", tr, err)
	}
	err = errors.Join(c.Restart(ctx, "machined", "me"), c.Renew(ctx, "me"), c.Reboot(ctx, "me"), c.PowerOff(ctx, ""),
		c.Reset(ctx, ResetState, "me"), c.Reset(ctx, ResetAll, "me"))
	if err != nil {
		t.Error(err)
	}
	if err := c.Reset(ctx, "some", "me"); err == nil {
		t.Error(`Reset("some") is no error`)
	}
	want := []string{"restart machined me", "restart node me", "reboot  me", "poweroff  the control socket", "reset state me", "reset all me"}
	if !slices.Equal(a.list, want) {
		t.Errorf("asked %q, want %q", a.list, want)
	}
}

// raw sends bytes and returns the answer.
func raw(t *testing.T, c Client, request string) Answer {
	t.Helper()
	conn, err := net.Dial("unix", c.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, request)
	var a Answer
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		t.Fatalf("answer to %.40q: %v", request, err)
	}
	return a
}

func TestBadRequestsAreRefusedWithAReason(t *testing.T) {
	var a asks
	s := a.server()
	s.Trial = func() *Trial { panic("oops") }
	c := newServer(t, s)
	for request, want := range map[string]string{
		"{}\n":                     "not known",
		`{"op":"sing"}` + "\n":     "not known",
		"what?\n":                  "no JSON object",
		`{"op":["reboot"]}` + "\n": "no JSON object",
		`{"op":"reboot","by":"` + strings.Repeat("x", requestMax) + `"}` + "\n": "longer than 65536 bytes",
		`{"op":"trial"}` + "\n": "panic: oops",
	} {
		if got := raw(t, c, request); !strings.Contains(got.Error, want) {
			t.Errorf("answer to %.40q is %q, want %q in it", request, got.Error, want)
		}
	}
	if len(a.list) != 0 {
		t.Errorf("done all the same: %q", a.list)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("Status after that = %v", err)
	}
}

func TestARequestThatIsNotFinishedDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asks
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.server().serve(t.Context(), there, make(chan struct{}, 1))
		}()
		began := time.Now()
		io.WriteString(here, `{"op":"reboot"`)
		line, _ := bufio.NewReader(here).ReadString('\n')
		<-done
		if !strings.Contains(line, "did not come within") || time.Since(began) != requestLimit || len(a.list) != 0 {
			t.Errorf("answer %q after %v, asked %q", line, time.Since(began), a.list)
		}
	})
}

func TestAReaderThatDoesNotReadIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := (&asks{}).server()
		s.Events.Add(EventBoot, "x")
		here, there := net.Pipe() // without a buffer
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.serve(t.Context(), there, make(chan struct{}, 1))
		}()
		began := time.Now()
		io.WriteString(here, `{"op":"events","follow":true}`+"\n")
		<-done
		if took := time.Since(began); took != answerLimit {
			t.Errorf("served for %v, want %v", took, answerLimit)
		}
	})
}

func TestAFloodLeavesPlacesAndFollowersDoNotTakeAll(t *testing.T) {
	s := (&asks{}).server()
	c := newServer(t, s)
	var idle []net.Conn
	defer func() {
		for _, conn := range idle {
			conn.Close()
		}
	}()
	for range followers {
		conn, err := net.Dial("unix", c.Path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
		io.WriteString(conn, `{"op":"events","follow":true}`+"\n")
	}
	s.Events.Add(EventBoot, "all are here")
	for _, conn := range idle {
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	err := c.Events(t.Context(), 0, true, func(Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "follow the events already") {
		t.Errorf("one more follower: %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("Status beside the followers = %v", err)
	}
	for len(idle) < connections {
		conn, err := net.Dial("unix", c.Path)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), ErrBusy.Error()) {
		t.Errorf("Status with all places taken = %v, want %v", err, ErrBusy)
	}
	idle[connections-1].Close()
	for range 100 { // the server hears of it a moment later
		if _, err = c.Status(t.Context()); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("Status with a place that is free again = %v", err)
	}
}

func TestEventsAreStreamedFromWhereTheClientWas(t *testing.T) {
	s := (&asks{}).server()
	c := newServer(t, s)
	s.Events.Add(EventBoot, "one\ntwo")
	s.Events.Add(EventNode, "ready")
	var got []string
	add := func(e Event) error { got = append(got, fmt.Sprint(e.ID, " ", e.Kind, " ", e.Text)); return nil }
	if err := c.Events(t.Context(), 0, false, add); err != nil || !slices.Equal(got, []string{"1 boot one; two", "2 node ready"}) {
		t.Errorf("Events = %q, %v", got, err)
	}
	got = nil
	end := errors.New("enough")
	go func() {
		time.Sleep(10 * time.Millisecond)
		s.Events.Add(EventShutdown, "reboot")
	}()
	err := c.Events(t.Context(), 1, true, func(e Event) error {
		add(e)
		if e.ID == 3 {
			return end
		}
		return nil
	})
	if !errors.Is(err, end) || !slices.Equal(got, []string{"2 node ready", "3 shutdown reboot"}) {
		t.Errorf("Events after 1 = %q, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Events(ctx, 3, true, add); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Events until a deadline = %v", err)
	}
}

func TestTheRingIsBounded(t *testing.T) {
	var r Ring
	for range 3 * ringSize {
		r.Add(EventBoot, "%s", strings.Repeat("ä", textMax))
	}
	events, _ := r.After(0)
	if len(events) != ringSize || events[0].ID != 2*ringSize+1 || events[ringSize-1].ID != 3*ringSize {
		t.Errorf("%d events, from %d", len(events), events[0].ID)
	}
	if n := len(events[0].Text); n > textMax || !strings.HasSuffix(events[0].Text, "ä…") {
		t.Errorf("text of %d bytes, ends %q", n, events[0].Text[n-6:])
	}
	if events, _ := r.After(3 * ringSize); events != nil {
		t.Errorf("%d events after the last", len(events))
	}
}

func TestWithoutPID1TheClientSaysSo(t *testing.T) {
	c := Client{filepath.Join(t.TempDir(), "none")}
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "PID 1 does not listen") {
		t.Errorf("Status = %v", err)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"op":"reset","what":"all","after":18446744073709551615}` + "\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRequest(strings.NewReader(string(b)))
		if err == nil && (len(b) == 0 || !strings.Contains(string(b), "\n")) {
			t.Errorf("readRequest(%q) = %+v, although no line ended", b, r)
		}
	})
}
