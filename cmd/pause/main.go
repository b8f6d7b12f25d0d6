//go:build linux

// Command pause is the sandbox process of a pod: it holds the pod's namespaces, reaps
// zombies when the pod shares its PID namespace, and ends on SIGTERM or SIGINT.
//
// It imports nothing but syscall and os/signal, so that a pod costs as little memory as
// a Go program can.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for sig := range signals {
		if sig != syscall.SIGCHLD {
			return
		}
		// One SIGCHLD can stand for several dead children.
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err == syscall.EINTR {
				continue
			}
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
