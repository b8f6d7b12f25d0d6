package main

import (
	"errors"
	"os"
	"os/exec"
)

// become runs a program and ends with its exit code: Windows has no way to take this
// program's place.
func become(program string, args, env []string) error {
	cmd := exec.Cmd{Path: program, Args: args, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	return err
}
