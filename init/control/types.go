package control

import (
	"time"

	"github.com/keelson-os/keelson/init/step"
)

// Path is PID 1's socket.
const Path = "/run/keelson/init.sock"

// Op is what a request asks for.
type Op string

// The operations. All of them but OpStatus, OpTrial and OpEvents answer when what was asked for has begun.
const (
	OpStatus   Op = "status"   // Answer.Status
	OpTrial    Op = "trial"    // Answer.Trial, nil without one
	OpEvents   Op = "events"   // lines of Event: those after Request.After, with Request.Follow also those to come
	OpRestart  Op = "restart"  // of Request.Service
	OpRenew    Op = "renew"    // the node process makes missing certificates when it starts: the same as a restart of it
	OpReboot   Op = "reboot"   //
	OpPowerOff Op = "poweroff" //
	OpReset    Op = "reset"    // wipe Request.What, then reboot (ResetState) or power off (ResetAll)
)

// What OpReset wipes.
const (
	ResetState = "state" // the state partition: the node's identity, data and configuration
	ResetAll   = "all"   // and the slots, the boot files and the partition table: the disk boots no more
)

// Request is a line from a client.
type Request struct {
	Op      Op     `json:"op"`
	By      string `json:"by,omitempty"`      // who asked, for the console and the events
	Service string `json:"service,omitempty"` // OpRestart
	What    string `json:"what,omitempty"`    // OpReset
	After   uint64 `json:"after,omitempty"`   // OpEvents: the ID of the last event known; 0: all there are
	Follow  bool   `json:"follow,omitempty"`  // OpEvents
}

// Answer is the line back.
type Answer struct {
	Error  string  `json:"error,omitempty"` // empty: done, or begun
	Status *Status `json:"status,omitempty"`
	Trial  *Trial  `json:"trial,omitempty"`
}

// Status is what PID 1 knows of the machine.
type Status struct {
	Version   string        `json:"version"`   // of the running system
	Hostname  string        `json:"hostname"`  //
	MachineID string        `json:"machineID"` // 32 hex digits; empty: no state partition
	Slot      string        `json:"slot"`      // booted: "a" or "b"; empty: not known
	RootHash  string        `json:"rootHash"`  // of the booted root, hex
	Disk      string        `json:"disk"`      // booted from, a name below /sys/block
	Uptime    time.Duration `json:"uptime"`    // since the kernel started, in nanoseconds
	Addresses []string      `json:"addresses"` // of the links that the configuration manages, "192.0.2.7/24"; not link-local
	Watchdog  string        `json:"watchdog"`  // its name and timeout; empty: none
	StateUp   bool          `json:"stateUp"`   // the state partition is mounted
	// Configured says that a configuration is in force.
	Configured bool `json:"configured"`
	// Health is what is wrong with PID 1 itself or the state partition; empty: nothing.
	Health   string      `json:"health,omitempty"`
	Clock    Clock       `json:"clock"`
	Node     Node        `json:"node"`
	Services []Service   `json:"services"`
	Steps    []step.Step `json:"steps"` // the boot table, with the node's as "node/NAME"
	Trial    *Trial      `json:"trial,omitempty"`
	// Ending is "reboot" or "power off" from the moment on that one was asked for.
	Ending string `json:"ending,omitempty"`
}

// Clock is how far the time can be believed.
type Clock struct {
	Synchronised bool     `json:"synchronised"` // set by NTP since boot
	Trusted      bool     `json:"trusted"`      // not behind the last known time at boot
	Servers      []string `json:"servers"`      // that are asked; empty: NTP is off
}

// Node is the node process as it describes itself.
type Node struct {
	Started  bool      `json:"started"`  // PID 1 keeps it running
	Ready    bool      `json:"ready"`    // all its components have started; false again while it is restarted
	Status   string    `json:"status"`   // what it does or waits for
	Healthy  bool      `json:"healthy"`  // API server and Node are ready, by its last word
	Reason   string    `json:"reason"`   // why not
	Heard    time.Time `json:"heard"`    // when that last word came; zero: never
	Restarts int       `json:"restarts"` // since boot
}

// Service is a process that PID 1 keeps running.
type Service struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"` // 0: not running now
	Ready    bool      `json:"ready"`
	Status   string    `json:"status,omitempty"`
	Since    time.Time `json:"since"`              // of its present run; zero: never ran
	Restarts int       `json:"restarts"`           // since boot
	LastExit string    `json:"lastExit,omitempty"` // how its last run ended
	Log      string    `json:"log"`                // path of its newest log
}

// The kinds of a trial.
const (
	TrialUpgrade = "upgrade" // of the booted slot
	TrialConfig  = "config"  // of a new configuration
)

// Trial is a boot that has to prove itself: see package trial.
type Trial struct {
	Kind  string        `json:"kind"`
	ID    string        `json:"id"`    // of the attempt in upgrade.json; "config" for a configuration
	Slot  string        `json:"slot"`  // TrialUpgrade: under trial
	Began time.Time     `json:"began"` // the gate, in this boot
	Left  time.Duration `json:"left"`  // until it gives up
	// Waiting is the condition that does not hold; empty: all hold since Since.
	Waiting string    `json:"waiting,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Result is "", "passed" or "failed: WHY".
	Result string `json:"result,omitempty"`
}

// Kinds of events.
const (
	EventBoot     = "boot"     // a step of the boot failed, or the boot ended
	EventService  = "service"  // a service started again or ended
	EventNode     = "node"     // the node got ready, healthy or unhealthy
	EventUpgrade  = "upgrade"  // a trial began, passed, failed, was rolled back
	EventConfig   = "config"   // a configuration was taken or undone
	EventShutdown = "shutdown" // somebody asked for the end
	EventWatchdog = "watchdog"
)

// Event is something that happened since this boot.
type Event struct {
	ID   uint64    `json:"id"` // from 1 on, without gaps; a gap between two lines means that some were lost
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	Text string    `json:"text"` // one line, at most 500 bytes
}
