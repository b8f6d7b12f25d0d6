package machine

// Disk is one of GET /v1/disks.
type Disk struct {
	Name       string      `json:"name"`   // "sda"
	Model      string      `json:"model"`  // empty: it does not say
	Serial     string      `json:"serial"` //
	Size       int64       `json:"size"`   // bytes
	SectorSize int         `json:"sectorSize"`
	ReadOnly   bool        `json:"readOnly"`
	Removable  bool        `json:"removable"`
	Rotating   bool        `json:"rotating"`
	Booted     bool        `json:"booted"`  // the system was booted from it
	Read       int64       `json:"read"`    // bytes since boot
	Written    int64       `json:"written"` // bytes since boot
	Partitions []Partition `json:"partitions"`
}

// Partition is a part of a disk.
type Partition struct {
	Name   string `json:"name"`             // "sda1"
	Number int    `json:"number"`           //
	Label  string `json:"label"`            // "esp", "root-a", "state", …; empty: none
	Start  int64  `json:"start"`            // bytes from the disk's first
	Size   int64  `json:"size"`             // bytes
	Booted bool   `json:"booted,omitempty"` // the running root is on it
	// Space is there when it is mounted.
	Space *Space `json:"space,omitempty"`
}
