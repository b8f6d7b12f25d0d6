package machine

import "time"

// Service is one line of GET /v1/services: a process that PID 1 keeps running.
type Service struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"` // 0: not running now
	Ready    bool      `json:"ready"`
	Status   string    `json:"status,omitempty"`   // what it says it does or waits for
	Since    time.Time `json:"since,omitzero"`     // of its present run
	Restarts int       `json:"restarts"`           // since boot
	LastExit string    `json:"lastExit,omitempty"` // how its last run ended
}

// Process is one line of GET /v1/ps.
type Process struct {
	PID     int       `json:"pid"`
	Parent  int       `json:"parent"`
	User    int       `json:"user"`  // effective user ID
	State   string    `json:"state"` // a letter, as ps(1) shows it
	Threads int       `json:"threads"`
	Started time.Time `json:"started"`
	CPU     Seconds   `json:"cpu"`     // time used, of all threads
	Memory  int64     `json:"memory"`  // resident bytes
	Pod     string    `json:"pod"`     // UID of the pod whose cgroup it is in; empty: none
	Name    string    `json:"name"`    // as the kernel knows it, at most 15 bytes
	Command string    `json:"command"` // with arguments, at most 400 bytes, secrets taken out; empty: a kernel thread
}

// Event is one line of GET /v1/events.
type Event struct {
	ID   uint64    `json:"id"` // from 1 on at each boot, without gaps; a gap means that some were lost
	Time time.Time `json:"time"`
	Kind string    `json:"kind"` // "boot", "service", "node", "upgrade", "config", "shutdown", "watchdog"
	Text string    `json:"text"`
}

// KernelMessage is one line of GET /v1/dmesg.
type KernelMessage struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`           // by the node's present clock
	Since    Seconds   `json:"since"`          // after the kernel's start
	Level    int       `json:"level"`          // 0 (emergency) to 7 (debug), as syslog(3)
	Facility int       `json:"facility"`       // 0: the kernel itself
	Lost     bool      `json:"lost,omitempty"` // messages before this one were overwritten unread
	Text     string    `json:"text"`
}
