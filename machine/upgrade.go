package machine

// UpgradeRequest is the body of POST /v1/upgrade; POST /v1/upgrade/push has its fields, without URL, and PushSize as its query.
type UpgradeRequest struct {
	// URL is the bundle: https://…, http://… (bundles are signed), or file:///var/lib/rancher/… on the node.
	URL string `json:"url,omitempty"`
	// SHA256 of the whole bundle file, hex; empty: its signature is enough.
	SHA256 string `json:"sha256,omitempty"`
	// Stage writes and verifies the other slot and stops there: the next boot is as before.
	Stage bool `json:"stage,omitempty"`
	// NoReboot arms the new system but leaves the reboot to somebody else.
	NoReboot bool `json:"noReboot,omitempty"`
}

// UpgradeMessage is one line of the answer: exactly one field is set. The last line is Result or Error.
type UpgradeMessage struct {
	// Read asks the pushing client for bytes of the file: exactly these go into the request's body next.
	Read     *Range           `json:"read,omitempty"`
	Progress *UpgradeProgress `json:"progress,omitempty"`
	Result   *UpgradeResult   `json:"result,omitempty"`
	Error    *Error           `json:"error,omitempty"`
}

// Range is bytes [Offset, Offset+Length) of a file.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// UpgradeProgress tells how far an upgrade is. It comes about once a second.
type UpgradeProgress struct {
	// Phase is "compare" (what is on the disk already), "root", "verify" (read it back), "boot files", "arm" or "reboot".
	Phase   string `json:"phase"`
	Done    int64  `json:"done"`    // bytes of the phase
	Total   int64  `json:"total"`   // bytes
	Fetched int64  `json:"fetched"` // bytes of the bundle that were read until now
	Written int64  `json:"written"` // bytes written to the disk until now
}

// UpgradeResult is an upgrade that was written.
type UpgradeResult struct {
	From     System  `json:"from"`
	To       System  `json:"to"`
	Armed    bool    `json:"armed"`   // the next boot is the new system's
	Reboot   bool    `json:"reboot"`  // and it has begun
	Total    int64   `json:"total"`   // bytes of the artefacts
	Fetched  int64   `json:"fetched"` // bytes that came from the bundle
	Reused   int64   `json:"reused"`  // bytes that were on the disk already
	Written  int64   `json:"written"` // bytes written to the disk
	Duration Seconds `json:"duration"`
}

// Rollback is the answer to POST /v1/rollback.
type Rollback struct {
	From   string `json:"from"`   // booted slot
	To     string `json:"to"`     // slot of the next boot
	Trial  bool   `json:"trial"`  // To has to prove itself, as after an upgrade
	Reason string `json:"reason"` // what was done
	Reboot bool   `json:"reboot"` // and it has begun
}
