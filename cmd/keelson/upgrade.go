package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

// upgrading are the flags of "keelson upgrade".
type upgrading struct {
	nodeFlags
	waitFlags
	request machine.UpgradeRequest
	file    string // to push; "": request.URL is fetched by the node
}

// upgraded is what came of it.
type upgraded struct {
	machine.UpgradeResult
	// Attempt is there when its end was waited for.
	Attempt *machine.Attempt `json:"attempt,omitempty"`
	// Waited is how long, from the end of the writing on.
	Waited machine.Seconds `json:"waited,omitempty"`
}

func newUpgradeCommand() *cobra.Command {
	var o upgrading
	cmd := &cobra.Command{
		Use:   "upgrade FILE|URL",
		Short: "Upgrade nodes to a bundle",
		Long: `Upgrades a node to a bundle ("keelson bundle build" makes them). A FILE is sent from this
computer; a URL is fetched by the node: https://, http://, or file:///var/lib/rancher/… for
one that is on its disk. Only what the node does not have is transferred, and a command
that was broken off goes on where it stopped.

The node checks the bundle, writes the other slot, reads it back, and reboots into it for a
trial: it has to get healthy and stay so for a minute. If it does not, whatever the reason,
the node comes back on the old system by itself, with the old datastore. The command waits
for that and says which it was; --wait=false ends when the reboot begins.`,
		Example: `  keelson upgrade pc-0.2.0.keelson
  keelson upgrade https://files.example.net/pc-0.2.0.keelson -n kitchen
  keelson upgrade pc-0.2.0.keelson -n kitchen,attic --stage`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args[0]); err != nil {
				return err
			}
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.request.Stage, "stage", false, "write and check the other slot, and stop there: the next boot is as before")
	f.BoolVar(&o.request.NoReboot, "no-reboot", false, "leave the reboot to somebody else: the next boot tries the new system")
	f.StringVar(&o.request.SHA256, "sha256", "", "checksum that the bundle file has to have, 64 hexadecimal digits (its signature is checked in any case)")
	o.waitFlags.add(cmd, true, "the new system has proved itself, or the old one is back")
	o.nodeFlags.add(cmd, true)
	return cmd
}

// complete takes the argument apart and checks what can be checked here.
func (o *upgrading) complete(arg string) error {
	if sum, err := hex.DecodeString(o.request.SHA256); err != nil || len(sum) != 0 && len(sum) != 32 {
		return fmt.Errorf("--sha256: found %q, expected 64 hexadecimal digits", o.request.SHA256)
	}
	if scheme, _, ok := strings.Cut(arg, "://"); ok {
		switch scheme {
		case "https", "http", "file":
			o.request.URL = arg
			return nil
		}
		return fmt.Errorf("found %q, expected the path of a bundle, or a URL that begins with https://, http:// or file:///var/lib/rancher/", arg)
	}
	o.file = arg
	// A file that is no bundle is not worth a connection.
	f, _, err := openBundle(arg)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; \"keelson bundle build\" makes bundles", err)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (o *upgrading) run(cmd *cobra.Command) error {
	nodes, err := o.open(true)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	answers := askAll(cmd.Context(), nodes, 0, func(ctx context.Context, n *node) (upgraded, error) {
		p := steps(cmd, nodes, &mu, n)
		u, err := o.upgrade(ctx, n, p, func(line string) {
			if o.output == outputTable { // what was written is worth knowing, whatever comes of it
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", n.name, line)
			}
		})
		p.end(err == nil)
		return u, err
	})
	return show(cmd, &o.nodeFlags, answers, func(w io.Writer, list []answer[upgraded]) error {
		for _, a := range list {
			fmt.Fprintf(w, "%s: %s\n", a.node.name, a.value.outcome())
		}
		return nil
	})
}

// upgrade upgrades one node. written is told what was written.
func (o *upgrading) upgrade(ctx context.Context, n *node, p *progress, written func(string)) (u upgraded, err error) {
	limit, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	w, err := newWatch(limit, n, func(step string) { p.Step(step, 0) })
	if err != nil {
		return u, err
	}
	if u.UpgradeResult, err = o.write(ctx, n, p); err != nil {
		return u, err
	}
	written(printable(u.saved()))
	if !u.Reboot || !o.wait {
		return u, nil
	}
	began := time.Now()
	u.Attempt, err = w.attempt(ctx, o.timeout, attemptID(&w.before))
	u.Waited = machine.SecondsOf(time.Since(began))
	return u, err
}

// phases are what the node does, for people.
var phases = map[string]string{
	"compare":    "compare with what is on the disk",
	"root":       "write the root",
	"verify":     "read it back",
	"boot files": "write the boot files",
	"arm":        "arm the trial",
	"reboot":     "begin the reboot",
}

// write lets the node write the bundle.
func (o *upgrading) write(ctx context.Context, n *node, p *progress) (machine.UpgradeResult, error) {
	phase := ""
	each := func(x machine.UpgradeProgress) {
		if x.Phase != phase {
			phase = x.Phase
			name := phases[phase]
			if name == "" {
				name = printable(phase)
			}
			p.Step(name, x.Total)
		}
		p.Done(x.Done)
	}
	if o.file == "" {
		p.Step("the node reads the bundle", 0)
		return n.Upgrade(ctx, o.request, each)
	}
	f, _, err := openBundle(o.file)
	if err != nil {
		return machine.UpgradeResult{}, &nodeError{err.Error(), err}
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return machine.UpgradeResult{}, &nodeError{err.Error(), err}
	}
	p.Step("the node checks the bundle", 0)
	return n.Push(ctx, o.request, f, st.Size(), each)
}

// saved says what was written and what that took.
func (u *upgraded) saved() string {
	text := fmt.Sprintf("version %s is in slot %s: %s of %s fetched", u.To.Version, u.To.Slot, size(u.Fetched), size(u.Total))
	if u.Reused > 0 {
		text += fmt.Sprintf(", %s saved (%s were on the disk already)", size(u.Reused), percent(u.Reused, u.Total))
	}
	return text + fmt.Sprintf("; %s written in %.1f s", size(u.Written), float64(u.Duration))
}

// outcome says where the node stands now.
func (u *upgraded) outcome() string {
	switch {
	case u.Attempt != nil:
		return fmt.Sprintf("version %s in slot %s is good, %s after the reboot began", u.Attempt.To.Version, u.Attempt.To.Slot, span(u.Waited.Duration()))
	case u.Reboot:
		return "reboots for the trial; \"keelson status\" tells what comes of it"
	case u.Armed:
		return "the next boot tries it: keelson reboot --wait"
	}
	return "staged, and the next boot is as before; the same command without --stage starts it"
}
