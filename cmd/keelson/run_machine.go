package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/keelson-os/keelson/machine"
	"github.com/keelson-os/keelson/tests/qemu"
)

// machineForward makes the machine API's port appear at --machine-port. The usual port may be taken, by another machine or a node on this
// computer: then any free one will do, unless the user asked for that very one.
func (o *runOptions) machineForward(given bool) (qemu.Forward, error) {
	if o.machinePort < 0 || o.machinePort > 65535 {
		return qemu.Forward{}, fmt.Errorf("--machine-port: found %d, expected 0 to 65535", o.machinePort)
	}
	host := o.machinePort
	if !given && !free(host) {
		host = 0
	}
	return qemu.Forward{Guest: machine.Port, Host: host}, nil
}

// free says whether a port of 127.0.0.1 can be listened on.
func free(port int) bool {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// writeMachine writes, into the machine's folder, how its machine API is reached with the credentials beside the cluster's kubeconfig.
// It returns the file, "" when there are no credentials.
func writeMachine(dir, kubeconfig string, port int) (string, error) {
	if kubeconfig == "" {
		return "", nil
	}
	a, err := folderAccess(filepath.Dir(kubeconfig))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // a kubeconfig alone is fine
	}
	if err != nil {
		return "", err
	}
	a.Nodes = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, machineJSONFile)
	return path, replaceFile(path, append(text, '\n'))
}

// addMachine writes machine.json and says at which port the machine API is, if that is not the usual one.
func (s *session) addMachine(kubeconfig string, port int) error {
	path, err := writeMachine(s.m.Dir(), kubeconfig, port)
	if err != nil || path == "" {
		return err
	}
	s.machineAddress = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if port != s.o.machinePort && s.o.machinePort != 0 {
		s.say("port %d of 127.0.0.1 is in use: the machine API is at port %d", s.o.machinePort, port)
	}
	return nil
}

// statusCommand is what the user types to ask the machine that was started.
func (s *session) statusCommand() string {
	command := shellQuote(os.Args[0]) + " status"
	switch c, err := loadContexts(); {
	case s.o.snapshot: // its folder is nowhere to be found
		return command + " -n " + s.machineAddress
	case err == nil && c.Current != "":
		return command + " --context " + shellQuote(s.o.image)
	}
	return command
}
