// Package running is what the running system says of itself: the parameters that the image builder put on the kernel command
// line, which is as trustworthy as the root hash beside them.
package running

import (
	"strconv"
	"strings"

	"github.com/keelson-os/keelson/init/cmdline"
)

// The kernel parameters.
const (
	BoardParam      = "keelson.board"
	VersionParam    = "keelson.version"
	SerialParam     = "keelson.serial" // N:M
	KubernetesParam = "keelson.kubernetes"
	KeysParam       = "keelson.keys" // separated by commas
)

// System is a system as its command line describes it. What is missing, or no number, is zero.
type System struct {
	Board         string
	Version       string
	Serial        int64
	MinimumSerial int64 // that it demands of what replaces it
	Kubernetes    string
	Keys          []string // minisign public keys, base64, that a bundle may be signed with
	RootHash      string   // hex
}

// Parse reads a command line's parameters.
func Parse(p cmdline.Params) System {
	get := func(key string) string {
		value, _ := p.Get(key)
		return value
	}
	s := System{
		Board: get(BoardParam), Version: get(VersionParam), Kubernetes: get(KubernetesParam), RootHash: strings.ToLower(get("roothash")),
	}
	n, m, _ := strings.Cut(get(SerialParam), ":")
	s.Serial, s.MinimumSerial = number(n), number(m)
	for key := range strings.SplitSeq(get(KeysParam), ",") {
		if key != "" {
			s.Keys = append(s.Keys, key)
		}
	}
	return s
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
