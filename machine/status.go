package machine

import "time"

// Version is the answer to GET /v1/version: which system runs.
type Version struct {
	API        int    `json:"api"`        // APIVersion
	Node       string `json:"node"`       // host name
	Version    string `json:"version"`    // of Keelson
	Serial     int64  `json:"serial"`     // of the system, rising from release to release
	Board      string `json:"board"`      //
	Arch       string `json:"arch"`       // as Go names it: "amd64", "arm64"
	Kubernetes string `json:"kubernetes"` // "v1.37.2"
	Kernel     string `json:"kernel"`     // release, as uname -r
	Slot       string `json:"slot"`       // booted: "a" or "b"; empty: not known
}

// Status is the answer to GET /v1/status. What could not be found out is missing and said in Problems.
type Status struct {
	Version
	MachineID     string        `json:"machineID"`              // 32 hex digits; empty: no state partition
	Role          string        `json:"role"`                   // of the node: "server" or "agent"; empty: no configuration
	Next          string        `json:"next"`                   // slot of the next boot
	Boot          Boot          `json:"boot"`                   //
	MinimumSerial int64         `json:"minimumSerial"`          // older bundles are refused
	Health        Health        `json:"health"`                 //
	Time          time.Time     `json:"time"`                   // the node's clock
	Uptime        Seconds       `json:"uptime"`                 // since the kernel started
	Ending        string        `json:"ending,omitempty"`       // "reboot" or "power off": it is under way
	Addresses     []string      `json:"addresses"`              // "192.0.2.7/24", of the links that the configuration manages
	Watchdog      string        `json:"watchdog"`               // its name and timeout; empty: none
	Disk          Space         `json:"disk"`                   // the state partition
	Memory        Memory        `json:"memory"`                 //
	CPUs          int           `json:"cpus"`                   //
	Load          []float64     `json:"load"`                   // averages of 1, 5 and 15 minutes
	Temperatures  []Temperature `json:"temperatures"`           //
	Steps         []Step        `json:"steps"`                  // the boot table; the node's as "node/NAME"
	Trial         *Trial        `json:"trial,omitempty"`        // that is under way in this boot
	Upgrade       *Attempt      `json:"upgrade,omitempty"`      // the last one, whatever came of it
	ConfigUndone  *Undone       `json:"configUndone,omitempty"` // the last configuration that was tried, if it was undone
	Problems      []string      `json:"problems,omitempty"`
}

// Boot is what the boot loader will do.
type Boot struct {
	Chain     string `json:"chain"`     // "uefi", "uefi+grub", "u-boot", "pi"; empty: not known
	Default   string `json:"default"`   // slot
	Trial     string `json:"trial"`     // slot under trial; empty: none
	TriesLeft int    `json:"triesLeft"` // boots of it that are still to come
	TriesDone int    `json:"triesDone"` // boots of it that were counted
}

// Health is whether the node does its work.
type Health struct {
	OK     bool   `json:"ok"`               // the machine is well, and the API server and the Node are ready
	Reason string `json:"reason,omitempty"` // why not; or what is being waited for
	// Node is the node process's part of it: "ready", "unhealthy", "starting", "not started".
	Node string `json:"node"`
	// Heard is when the node process last said how it is; zero: never.
	Heard time.Time `json:"heard,omitzero"`
}

// The values of Health.Node.
const (
	NodeReady      = "ready"
	NodeUnhealthy  = "unhealthy"
	NodeStarting   = "starting"
	NodeNotStarted = "not started"
)

// Step is a finished step of the boot.
type Step struct {
	Name     string  `json:"name"`
	Duration Seconds `json:"duration"`
	Error    string  `json:"error,omitempty"` // empty: ok
	Note     string  `json:"note,omitempty"`
}

// Space is a file system's room in bytes and files.
type Space struct {
	Device    string `json:"device"`
	Path      string `json:"path"` // where it is mounted
	FSType    string `json:"fsType"`
	Size      int64  `json:"size"`
	Used      int64  `json:"used"`
	Free      int64  `json:"free"` // what is left for anyone but root
	Files     int64  `json:"files"`
	FilesFree int64  `json:"filesFree"`
}

// Memory is in bytes.
type Memory struct {
	Total     int64 `json:"total"`
	Available int64 `json:"available"` // the kernel's estimate of what can be had without swapping
	Free      int64 `json:"free"`
	Cached    int64 `json:"cached"`
}

// Temperature is a sensor's.
type Temperature struct {
	Sensor  string  `json:"sensor"`  // "cpu-thermal", "coretemp: Package id 0"
	Celsius float64 `json:"celsius"` //
}

// Trial is a boot that has to prove itself before it is kept.
type Trial struct {
	Kind    string    `json:"kind"`              // "upgrade" or "config"
	ID      string    `json:"id"`                // the attempt's
	Slot    string    `json:"slot,omitempty"`    // under trial
	Began   time.Time `json:"began"`             //
	Left    Seconds   `json:"left"`              // until it gives up
	Waiting string    `json:"waiting,omitempty"` // the condition that does not hold
	Since   time.Time `json:"since,omitzero"`    // when all conditions began to hold
	Result  string    `json:"result,omitempty"`  // "", "passed" or "failed: WHY"
}

// Undone is why a configuration was undone.
type Undone struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Tail   []string  `json:"tail,omitempty"` // last lines of the boot with it
}

// Attempt is an upgrade and what came of it.
type Attempt struct {
	ID       string    `json:"id"`
	From     System    `json:"from"`
	To       System    `json:"to"`
	State    string    `json:"state"` // one of the Attempt… constants
	Tries    int       `json:"tries"` // boots of the new system that reached PID 1
	Reason   string    `json:"reason,omitempty"`
	Tail     []string  `json:"tail,omitempty"`  // last lines of the failed boot
	Panic    string    `json:"panic,omitempty"` // the kernel's last words, where the machine keeps them
	Started  time.Time `json:"started"`
	Armed    time.Time `json:"armed,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
}

// The states of an attempt.
const (
	AttemptArmed      = "armed"       // the next boot is the new system's first
	AttemptTrying     = "trying"      // the new system runs and has to prove itself
	AttemptGood       = "good"        // it has
	AttemptRolledBack = "rolled-back" // it has not; Reason says why
	AttemptCanceled   = "canceled"    // called off before its first boot
)

// System is a system in a slot.
type System struct {
	Slot     string `json:"slot"`
	Version  string `json:"version"`
	Serial   int64  `json:"serial"`
	RootHash string `json:"rootHash"`
}
