// Package shutdown ends a node in order, and hears who asks for it.
//
//	power button      power off
//	SIGTERM to PID 1  power off
//	SIGINT to PID 1   reboot; Ctrl-Alt-Del is the same
//	machine API       power off, reboot, reset
//
// The order: the node process, then the pods, then their shims, the machine API; the log
// and the last times; sync and unmount; power off. Each stage has a limit and the whole has one, after
// which the machine is powered off in whatever state it is: a node must not stay half
// dead because one disk or one pod hangs. Only a reset may take longer: wiping a disk takes
// what it takes.
package shutdown
