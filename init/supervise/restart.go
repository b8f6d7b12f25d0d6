package supervise

import (
	"sync"
	"time"
)

// statusMax bounds, in bytes, the status that Info tells.
const statusMax = 500

// Info is how a service is doing.
type Info struct {
	PID      int       // of its main process; 0: not running now
	Ready    bool      // its present run has said so
	Status   string    // its last word in its present run
	Since    time.Time // start of its present or last run; zero: never ran
	Restarts int
	LastExit string // how its last run ended
}

// Info tells how the service is doing. Any goroutine may call it, also before Run.
func (s *Service) Info() Info {
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	i := s.st.info
	i.PID, i.Ready = s.st.pid, s.st.pid != 0 && s.st.ready
	return i
}

// Restart ends the present run of the service, which then starts again at once; by says who asked. Any goroutine may
// call it. Asked again before the first was heard, it is one restart.
func (s *Service) Restart(by string) {
	if by == "" {
		by = "nobody"
	}
	s.asks.ask(by)
}

// restarts holds the wish for a restart. The zero value is ready.
type restarts struct {
	mu   sync.Mutex
	by   string
	wake chan struct{} // closed while there is a wish
}

// c is readable while there is a wish.
func (r *restarts) c() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.channel()
}

func (r *restarts) channel() chan struct{} {
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return r.wake
}

func (r *restarts) ask(by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == "" {
		close(r.channel())
	}
	r.by = by
}

// take returns who asked, and forgets the wish.
func (r *restarts) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := r.by
	r.by, r.wake = "", nil
	return by
}
