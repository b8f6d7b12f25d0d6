package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newStatusCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how nodes are",
		Long: `Shows what a node runs and how it is: version and slot, health, what the boot loader will do
next, disk, memory, load, temperatures, the steps of its boot, and what came of the last
upgrade. Of several nodes it shows a line each; -o json and -o yaml have all of it.`,
		Example: "  keelson status\n  keelson status -n kitchen,attic\n  keelson status -n 10.0.0.10 -o json",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := f.open(false)
			if err != nil {
				return err
			}
			answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) (machine.Status, error) { return n.Status(ctx) })
			if len(answers) > 1 {
				return showRows(cmd, &f, answers, []string{"NAME", "VERSION", "KUBERNETES", "BOARD", "SLOT", "NEXT", "HEALTH", "UPTIME", "MEMORY", "DISK", "LAST UPGRADE"}, statusRow)
			}
			return show(cmd, &f, answers, func(w io.Writer, list []answer[machine.Status]) error {
				return writeStatus(w, &list[0].value)
			})
		},
	}
	f.add(cmd, true)
	return cmd
}

// statusRow is a node among several.
func statusRow(s machine.Status) table {
	upgrade := ""
	if s.Upgrade != nil {
		upgrade = s.Upgrade.To.Version + " " + s.Upgrade.State
	}
	return table{{s.Node, s.Version.Version, s.Kubernetes, s.Board, s.Slot, s.Next, health(&s), span(s.Uptime.Duration()),
		percent(s.Memory.Total-s.Memory.Available, s.Memory.Total), percent(s.Disk.Used, s.Disk.Size), upgrade}}
}

func health(s *machine.Status) string {
	switch {
	case s.Ending != "":
		return "about to " + s.Ending
	case s.Health.OK:
		return "ok"
	}
	return "not ok: " + cmp.Or(s.Health.Reason, "node "+s.Health.Node)
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %%", (100*part+whole/2)/whole)
}

// writeStatus shows a node on a page of its own.
func writeStatus(w io.Writer, s *machine.Status) error {
	p := page{
		{"node", join(", ", s.Node, s.Role, strings.Join(s.Addresses, ", "))},
		{"version", join(", ", s.Version.Version+fmt.Sprintf(" (serial %d)", s.Serial), "board "+s.Board, s.Arch)},
		{"kubernetes", s.Kubernetes},
		{"kernel", s.Kernel},
		{"slot", slots(s)},
		{"health", health(s)},
		{"up", join(", ", span(s.Uptime.Duration()), "clock "+at(s.Time))},
		{"memory", ofTotal(mebibytes, s.Memory.Total-s.Memory.Available, s.Memory.Total)},
		{"state", join(", ", ofTotal(size, s.Disk.Used, s.Disk.Size), join(" ", s.Disk.Device, s.Disk.FSType))},
		{"load", load(s)},
		{"temperature", temperatures(s.Temperatures)},
		{"watchdog", cmp.Or(s.Watchdog, "none")},
		{"machine id", s.MachineID},
	}
	if t := s.Trial; t != nil {
		p = append(p, [2]string{"trial", trialLine(t)})
	}
	p = append(p, attemptPage(s.Upgrade)...)
	if u := s.ConfigUndone; u != nil {
		p = append(p, [2]string{"configuration", "a new one was undone on " + at(u.Time) + ": " + u.Reason})
		p = append(p, indented("last lines", u.Tail)...)
	}
	for k, problem := range s.Problems {
		p = append(p, [2]string{[]string{"problems", ""}[min(k, 1)], problem})
	}
	if err := p.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nboot")
	steps := table{}
	for _, step := range s.Steps {
		result := "ok"
		if step.Error != "" {
			result = step.Error
		}
		steps = append(steps, []string{"  " + step.Name, fmt.Sprintf("%7.3fs", step.Duration), join(" ", result, yes(step.Note != "", "("+step.Note+")"))})
	}
	return steps.write(w)
}

// slots says which slot runs and which is next.
func slots(s *machine.Status) string {
	text := cmp.Or(s.Slot, "not known")
	if s.Next != "" && s.Next != s.Slot {
		text += ", at the next boot " + s.Next
	}
	if s.Boot.Trial != "" {
		text += fmt.Sprintf(", on trial %s (%d tries left)", s.Boot.Trial, s.Boot.TriesLeft)
	}
	return text + yes(s.Boot.Chain != "", " ("+s.Boot.Chain+")")
}

func trialLine(t *machine.Trial) string {
	what := "upgrade, slot " + t.Slot
	if t.Kind == "config" {
		what = "configuration"
	}
	if t.Result != "" {
		return what + ": " + t.Result
	}
	return what + ": " + cmp.Or(t.Waiting, "all is well, since "+at(t.Since)) + "; gives up in " + span(t.Left.Duration())
}

// attemptPage tells the last upgrade's story.
func attemptPage(a *machine.Attempt) page {
	if a == nil {
		return nil
	}
	when := a.Finished
	if when.IsZero() {
		when = a.Started
	}
	p := page{{"last upgrade", fmt.Sprintf("%s (slot %s) to %s (slot %s): %s, %s", a.From.Version, a.From.Slot, a.To.Version, a.To.Slot, a.State, at(when))}, {"  reason", a.Reason}}
	if a.State == machine.AttemptRolledBack {
		p = append(p, indented("last lines", a.Tail)...)
		p = append(p, indented("last words", lastWords(a.Panic))...)
	}
	return p
}

// indented are lines below the one before.
func indented(title string, lines []string) page {
	var p page
	for k, line := range lines {
		p = append(p, [2]string{[]string{"  " + title, ""}[min(k, 1)], line})
	}
	return p
}

func ofTotal(show func(int64) string, used, total int64) string {
	if total <= 0 {
		return "not known"
	}
	return fmt.Sprintf("%s of %s used (%s)", show(used), show(total), percent(used, total))
}

func load(s *machine.Status) string {
	var list []string
	for _, l := range s.Load {
		list = append(list, fmt.Sprintf("%.2f", l))
	}
	return join(" on ", strings.Join(list, " "), fmt.Sprintf("%d CPUs", s.CPUs))
}

func temperatures(list []machine.Temperature) string {
	var out []string
	for _, t := range list {
		out = append(out, fmt.Sprintf("%s %.0f °C", t.Sensor, t.Celsius))
	}
	return strings.Join(out, ", ")
}

// join joins what is not empty.
func join(between string, parts ...string) string {
	var list []string
	for _, p := range parts {
		if p != "" {
			list = append(list, p)
		}
	}
	return strings.Join(list, between)
}

func newTimeCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "time",
		Short:   "Show the clocks of nodes",
		Example: "  keelson time -n kitchen,attic",
		Args:    arguments,
		RunE: asking(&f, func(n *node) call[machine.Time] { return n.Time },
			[]string{"TIME", "SYNCHRONISED", "OFFSET", "ERROR", "RTC", "SERVERS"}, func(t machine.Time) table {
				small := func(s *machine.Seconds) string {
					if s == nil {
						return ""
					}
					return s.Duration().Round(time.Microsecond).String()
				}
				synchronised := "yes"
				switch {
				case !t.Synchronised && t.Trusted:
					synchronised = "no"
				case !t.Synchronised:
					synchronised = "no, and not to be trusted"
				}
				return table{{at(t.Now), synchronised, small(t.Offset), small(t.Error), at(t.RTC), cmp.Or(strings.Join(t.Servers, ", "), "NTP is off")}}
			}),
	}
	f.add(cmd, true)
	return cmd
}
