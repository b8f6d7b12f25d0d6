// Package uevent receives the kernel's device events (NETLINK_KOBJECT_UEVENT).
package uevent

import (
	"bytes"
	"errors"
	"strings"
)

// Event is one message of the kernel.
type Event struct {
	Action  string            // add, remove, change, move, online, offline, bind, unbind
	Devpath string            // below /sys
	Env     map[string]string // SUBSYSTEM, MODALIAS, DEVNAME, …
}

// ErrNotKernel is returned for a message that is not of the kernel's form, for example
// libudev's, which uses the same socket family.
var ErrNotKernel = errors.New("uevent: not a kernel message")

// Parse reads "ACTION@DEVPATH\0KEY=VALUE\0…".
// Source: lib/kobject_uevent.c.
func Parse(p []byte) (Event, error) {
	head, rest, _ := bytes.Cut(p, []byte{0})
	action, devpath, ok := strings.Cut(string(head), "@")
	if !ok || action == "" || !strings.HasPrefix(devpath, "/") {
		return Event{}, ErrNotKernel
	}
	e := Event{Action: action, Devpath: devpath, Env: map[string]string{}}
	for len(rest) > 0 {
		var field []byte
		field, rest, _ = bytes.Cut(rest, []byte{0})
		if key, value, ok := strings.Cut(string(field), "="); ok {
			e.Env[key] = value
		}
	}
	return e, nil
}
