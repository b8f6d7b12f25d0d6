//go:build unix

package main

import "syscall"

// become runs a program in place of this one; it only returns an error.
func become(program string, args, env []string) error { return syscall.Exec(program, args, env) }
