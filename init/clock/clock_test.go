package clock

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is what a Clock under test acts on.
type world struct {
	mu       sync.Mutex
	servers  []string
	offset   time.Duration
	err      error
	oldest   time.Time
	begin    time.Time
	asked    []time.Duration // after begin
	steps    []time.Duration
	slews    []time.Duration
	rtc      int
	released bool
	saves    []time.Duration
	measured []string // servers last asked
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func run(t *testing.T, w *world, f func(ctx context.Context, c *Clock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.begin = time.Now()
		c := &Clock{
			stateDir: "state",
			oldest:   w.oldest,
			log:      t.Logf,
			servers:  func() []string { w.mu.Lock(); defer w.mu.Unlock(); return w.servers },
			measure: func(_ context.Context, servers []string) (sample, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.asked = append(w.asked, time.Since(w.begin))
				w.measured = servers
				return sample{offset: w.offset}, w.err
			},
			step: func(d time.Duration) error {
				w.set(func() {
					if !w.released {
						t.Error("stepped while the floor is held")
					}
					w.steps = append(w.steps, d)
					w.offset = 0
				})
				return nil
			},
			slew:    func(d, _ time.Duration) error { w.set(func() { w.slews = append(w.slews, d) }); return nil },
			setRTC:  func() error { w.set(func() { w.rtc++ }); return errors.New("no RTC") },
			save:    func() error { w.set(func() { w.saves = append(w.saves, time.Since(w.begin)) }); return nil },
			release: func() { w.set(func() { w.released = true }) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		c.start(ctx)
		f(ctx, c)
		cancel()
		<-c.done
	})
}

func TestFirstAnswerStepsThenSlews(t *testing.T) {
	w := &world{servers: []string{"a"}, offset: 56 * 365 * 24 * time.Hour}
	run(t, w, func(ctx context.Context, c *Clock) {
		if err := c.WaitSynced(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.set(func() { w.offset = 100 * time.Millisecond })
		time.Sleep(10 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.steps) != 1 || w.rtc != 1 {
			t.Errorf("%d steps, RTC set %d times, want 1 and 1", len(w.steps), w.rtc)
		}
		if len(w.slews) < 5 || w.slews[0] != 100*time.Millisecond {
			t.Errorf("slews %v, want one of 100 ms a minute", w.slews)
		}
	})
}

func TestAnAnswerLongBeforeTheBuildIsNotBelieved(t *testing.T) {
	// The bubble's time begins in 2000.
	w := &world{servers: []string{"a"}, offset: -20 * 365 * 24 * time.Hour, oldest: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)}
	run(t, w, func(ctx context.Context, c *Clock) {
		time.Sleep(time.Hour)
		w.mu.Lock()
		steps, released := len(w.steps), w.released
		w.offset = -time.Hour
		w.mu.Unlock()
		if steps != 0 || c.Synced() || released {
			t.Errorf("%d steps, synchronised %v, floor released %v, want none", steps, c.Synced(), released)
		}
		if err := c.WaitSynced(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if !slices.Equal(w.steps, []time.Duration{-time.Hour}) {
			t.Errorf("steps %v, want one of an hour back", w.steps)
		}
	})
}

func TestLaterErrorOverHalfASecondSteps(t *testing.T) {
	w := &world{servers: []string{"a"}}
	run(t, w, func(ctx context.Context, c *Clock) {
		synctest.Wait()
		w.set(func() { w.offset = -600 * time.Millisecond })
		time.Sleep(2 * firstPoll * 12 / 10)
		w.mu.Lock()
		defer w.mu.Unlock()
		if !slices.Equal(w.steps, []time.Duration{-600 * time.Millisecond}) {
			t.Errorf("steps %v, want one of -600 ms", w.steps)
		}
	})
}

func TestSilentServersAreAskedAgain(t *testing.T) {
	w := &world{servers: []string{"a"}, err: errors.New("silent")}
	run(t, w, func(ctx context.Context, c *Clock) {
		short, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		if err := c.WaitSynced(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WaitSynced = %v, want DeadlineExceeded", err)
		}
		w.mu.Lock()
		n := len(w.asked)
		w.err = nil
		w.mu.Unlock()
		if n < 50 || n > 80 {
			t.Errorf("asked %d times in an hour, want about 60", n)
		}
		time.Sleep(lastRetry * 12 / 10)
		if !c.Synced() {
			t.Error("not synchronised after the server is back")
		}
	})
}

// A server that DHCP names while another is waited for is asked within a second or so.
func TestNewServersAreAskedAtOnce(t *testing.T) {
	w := &world{servers: []string{"a"}, err: errors.New("silent")}
	run(t, w, func(ctx context.Context, c *Clock) {
		time.Sleep(10 * time.Minute)
		w.set(func() { w.servers, w.err = []string{"b"}, nil })
		time.Sleep(1100 * time.Millisecond)
		if w.set(func() {}); !c.Synced() || !slices.Equal(w.measured, []string{"b"}) {
			t.Errorf("synced %v, last asked %v, want b to be asked", c.Synced(), w.measured)
		}
	})
}

func TestNoServersMeansNoQuestions(t *testing.T) {
	w := &world{}
	run(t, w, func(ctx context.Context, c *Clock) {
		time.Sleep(time.Hour)
		if len(w.asked) != 0 || c.Synced() {
			t.Errorf("asked %d times with NTP off", len(w.asked))
		}
		if err := c.WaitSynced(ctx); err != ErrOff {
			t.Errorf("WaitSynced = %v, want ErrOff", err)
		}
	})
}

func TestIdleIsQuietAndSavesHourly(t *testing.T) {
	w := &world{servers: []string{"a"}}
	run(t, w, func(ctx context.Context, c *Clock) {
		time.Sleep(24 * time.Hour)
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.asked); n > 110 {
			t.Errorf("asked %d times in a day, want about 90", n)
		}
		if n := len(w.saves); n < 15 || n > 24 {
			t.Errorf("saved %d times in a day, want at most once an hour", n)
		}
	})
}

func TestServers(t *testing.T) {
	dhcp := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	tests := []struct {
		name       string
		configured []string
		dhcp       []netip.Addr
		want       []string
	}{
		{"default, DHCP", []string{DefaultServer}, dhcp, []string{"10.0.0.1"}},
		{"default, no DHCP", []string{DefaultServer}, nil, []string{DefaultServer}},
		{"set by the user", []string{"ntp.lab"}, dhcp, []string{"ntp.lab"}},
		{"off", nil, dhcp, nil},
	}
	for _, tt := range tests {
		if got := Servers(tt.configured, tt.dhcp); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Servers = %v, want %v", tt.name, got, tt.want)
		}
	}
}
