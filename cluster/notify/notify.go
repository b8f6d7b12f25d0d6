// Package notify tells PID 1 how far the node process is, in systemd's sd_notify
// protocol: one datagram of NAME=value lines to the socket in NOTIFY_SOCKET.
//
//	STATUS=<what is awaited>
//	X_KEELSON_STEP=<step> <milliseconds> ok
//	X_KEELSON_STEP=<step> <milliseconds> error:<text>
//	READY=1
//	X_KEELSON_HEALTHY=1
//	X_KEELSON_HEALTHY=0:<reason, at most 400 bytes>
package notify

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Notifier sends to PID 1. Its zero value sends nowhere. It is safe for concurrent use:
// a datagram is one write.
type Notifier struct {
	conn *net.UnixConn
}

// FromEnvironment connects to the socket in NOTIFY_SOCKET and removes the variable:
// kubelet, the API server and containerd would each send READY=1 of their own, too early.
// Without the variable, the Notifier sends nowhere.
func FromEnvironment() (*Notifier, error) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return &Notifier{}, nil
	}
	if err := os.Unsetenv("NOTIFY_SOCKET"); err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to NOTIFY_SOCKET %s: %w", name, err)
	}
	return &Notifier{conn: conn}, nil
}

// Ready says that the Node object is Ready.
func (n *Notifier) Ready() error { return n.send("READY=1") }

// Status says what is awaited now, on one line.
func (n *Notifier) Status(text string) error { return n.send("STATUS=" + oneLine(text)) }

// Step says that a step of the start ended after d; err is nil if it succeeded.
// The name must not contain white space.
func (n *Notifier) Step(name string, d time.Duration, err error) error {
	result := "ok"
	if err != nil {
		result = "error:" + oneLine(err.Error())
	}
	return n.send(fmt.Sprintf("X_KEELSON_STEP=%s %d %s", name, d.Milliseconds(), result))
}

// Healthy says, after Ready, that the node does its work; or why it does not, on one line.
func (n *Notifier) Healthy(reason string) error {
	if reason == "" {
		return n.send("X_KEELSON_HEALTHY=1")
	}
	return n.send("X_KEELSON_HEALTHY=0:" + cut(oneLine(reason), maxReason))
}

func (n *Notifier) send(line string) error {
	if n.conn == nil {
		return nil
	}
	if _, err := n.conn.Write([]byte(line + "\n")); err != nil {
		return fmt.Errorf("notify PID 1: %w", err)
	}
	return nil
}

// maxText keeps a datagram well below what every socket buffer takes.
const maxText = 1000

// maxReason is what PID 1 takes of a reason, in bytes.
const maxReason = 400

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return s
}

// cut shortens s to at most n bytes, at a character's end.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
