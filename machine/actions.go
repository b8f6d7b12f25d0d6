package machine

// ResetRequest is the body of POST /v1/reset: State or All.
type ResetRequest struct {
	// State wipes the state partition, so the node's identity, data, configuration and secrets; the next boot is a first boot.
	State bool `json:"state,omitempty"`
	// All also wipes the slots, the boot files and the partition table: the disk boots no more, and the machine powers off.
	All bool `json:"all,omitempty"`
	// Confirm is the node's host name: nothing is wiped without it.
	Confirm string `json:"confirm"`
}

// Reset is the answer: what is being wiped.
type Reset struct {
	Wipes []string `json:"wipes"` // "state partition /dev/sda5 (28 GB): …"
	Then  string   `json:"then"`  // "reboot" or "power off"
}

// ConfigChange is the answer to PUT /v1/config.
type ConfigChange struct {
	Changed bool `json:"changed"` // false: it is the one in force
	Reboot  bool `json:"reboot"`  // it is taken by a reboot, which has begun; undone if the node does not come back
}
