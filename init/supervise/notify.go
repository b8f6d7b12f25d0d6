package supervise

import (
	"strconv"
	"strings"
	"time"

	"github.com/keelson-os/keelson/init/step"
)

// Message is one datagram of the sd_notify protocol.
// Source: sd_notify(3).
type Message struct {
	Ready    bool
	Stopping bool
	Status   string // empty: not in this message
	Steps    []step.Step
	Health   *Health // nil: not in this message
}

// Health is a service's word on whether what it runs works.
type Health struct {
	OK     bool
	Reason string // why not
}

// stepMax bounds, in bytes, a name or an error in a step.
const stepMax = 400

// ParseMessage reads a datagram; fields it does not know and steps that are not of the
// form are skipped.
func ParseMessage(p []byte) Message {
	var m Message
	for line := range strings.SplitSeq(string(p), "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "READY":
			m.Ready = m.Ready || value == "1"
		case "STOPPING":
			m.Stopping = m.Stopping || value == "1"
		case "STATUS":
			m.Status = value
		case "X_KEELSON_HEALTHY":
			if h, ok := parseHealth(value); ok {
				m.Health = &h
			}
		case "X_KEELSON_STEP":
			if s, ok := parseStep(value); ok {
				m.Steps = append(m.Steps, s)
			}
		}
	}
	return m
}

// parseHealth reads "1" or "0:REASON".
func parseHealth(value string) (Health, bool) {
	if value == "1" {
		return Health{OK: true}, true
	}
	reason, ok := strings.CutPrefix(value, "0")
	if !ok || reason != "" && reason[0] != ':' {
		return Health{}, false
	}
	reason = strings.TrimSpace(strings.TrimPrefix(reason, ":"))
	if reason == "" {
		reason = "no reason given"
	}
	return Health{Reason: strings.ToValidUTF8(reason[:min(len(reason), stepMax)], "")}, true
}

// parseStep reads "NAME MS ok" or "NAME MS error[:TEXT]".
func parseStep(value string) (step.Step, bool) {
	name, rest, ok := strings.Cut(value, " ")
	ms, result, ok2 := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(ms, 10, 32)
	if !ok || !ok2 || err != nil || n < 0 || name == "" || len(name) > stepMax {
		return step.Step{}, false
	}
	s := step.Step{Name: name, Duration: time.Duration(n) * time.Millisecond}
	if result == "ok" {
		return s, true
	}
	text, ok := strings.CutPrefix(result, "error")
	if !ok {
		return step.Step{}, false
	}
	text = strings.TrimSpace(strings.TrimPrefix(text, ":"))
	if text == "" {
		text = "error"
	}
	s.Error = text[:min(len(text), stepMax)]
	return s, true
}
