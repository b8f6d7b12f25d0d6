package control

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// ringSize is how many events are kept.
	ringSize = 256
	// textMax bounds the text of an event, in bytes.
	textMax = 500
)

// Ring keeps the last events. Safe for several goroutines; the zero value is ready.
type Ring struct {
	mu      sync.Mutex
	events  []Event
	last    uint64
	changed chan struct{} // closed at the next event; nil: nobody waits
}

// Add appends an event. Line ends become "; ".
func (r *Ring) Add(kind, format string, args ...any) {
	text := strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "; ")
	if len(text) > textMax {
		text = text[:textMax-len("…")] + "…"
	}
	text = strings.ToValidUTF8(text, "")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	if len(r.events) == ringSize {
		copy(r.events, r.events[1:])
		r.events = r.events[:ringSize-1]
	}
	r.events = append(r.events, Event{ID: r.last, Time: time.Now().UTC(), Kind: kind, Text: text})
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// After returns the events after the one with that id, and a channel that is closed when there are more.
func (r *Ring) After(id uint64) (events []Event, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.events {
		if r.events[i].ID > id {
			events = append(events, r.events[i:]...)
			break
		}
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return events, r.changed
}
