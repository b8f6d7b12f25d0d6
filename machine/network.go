package machine

// Network is the answer to GET /v1/network.
type Network struct {
	Hostname    string   `json:"hostname"`
	Links       []Link   `json:"links"`
	Routes      []Route  `json:"routes"` // of the main table
	Nameservers []string `json:"nameservers"`
	Search      []string `json:"search"`
}

// Link is a network interface.
type Link struct {
	Name      string   `json:"name"`
	Index     int      `json:"index"`
	Kind      string   `json:"kind"`      // "device", "vlan", "bond", "veth", "vxlan", …
	State     string   `json:"state"`     // "up", "down", "unknown", …, as the kernel says
	Up        bool     `json:"up"`        // it is set up
	Carrier   bool     `json:"carrier"`   // the cable is in
	MAC       string   `json:"mac"`       //
	MTU       int      `json:"mtu"`       // bytes
	SpeedMbit int      `json:"speedMbit"` // 0: not known
	Driver    string   `json:"driver"`    // empty: none
	Addresses []string `json:"addresses"` // "192.0.2.7/24"
	Received  Traffic  `json:"received"`
	Sent      Traffic  `json:"sent"`
}

// Traffic counts since the link was made.
type Traffic struct {
	Bytes   uint64 `json:"bytes"`
	Packets uint64 `json:"packets"`
	Errors  uint64 `json:"errors"`
	Dropped uint64 `json:"dropped"`
}

// Route is where packets go.
type Route struct {
	To     string `json:"to"`            // "default" or "192.0.2.0/24"
	Via    string `json:"via,omitempty"` // the gateway
	Link   string `json:"link"`
	From   string `json:"from,omitempty"` // source address
	Metric int    `json:"metric"`
	Origin string `json:"origin"` // "kernel", "static", "dhcp", "ra", …
}
