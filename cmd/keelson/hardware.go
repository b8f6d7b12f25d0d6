package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newDisksCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:     "disks",
		Short:   "List disks and partitions of nodes",
		Example: "  keelson disks",
		Args:    arguments,
		RunE: asking(&f, func(n *node) call[[]machine.Disk] { return n.Disks },
			[]string{"NAME", "SIZE", "LABEL", "MOUNTED AT", "USED", "READ", "WRITTEN", "MODEL"}, diskRows),
	}
	f.add(cmd, true)
	return cmd
}

func diskRows(list []machine.Disk) (t table) {
	for _, d := range list {
		var notes []string
		for _, n := range []string{d.Model, yes(d.Booted, "booted"), yes(d.ReadOnly, "read-only"), yes(d.Removable, "removable"), yes(d.Rotating, "rotating")} {
			if n != "" {
				notes = append(notes, n)
			}
		}
		t = append(t, []string{d.Name, size(d.Size), "", "", "", size(d.Read), size(d.Written), strings.Join(notes, ", ")})
		for _, p := range d.Partitions {
			row := []string{"  " + p.Name, size(p.Size), p.Label, "", "", "", "", yes(p.Booted, "booted")}
			if s := p.Space; s != nil {
				row[3], row[4] = s.Path, fmt.Sprintf("%s (%s)", size(s.Used), percent(s.Used, s.Size))
			}
			t = append(t, row)
		}
	}
	return t
}

func newNetworkCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Show links, addresses, routes and name servers of nodes",
		Long: `Shows the links of a node with their addresses and counters, its routes and its name
servers. Of several nodes it shows the links alone; -o json and -o yaml have all of it.`,
		Example: "  keelson network",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := f.open(false)
			if err != nil {
				return err
			}
			answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) (machine.Network, error) { return n.Network(ctx) })
			header := []string{"LINK", "STATE", "ADDRESSES", "MAC", "MTU", "SPEED", "RECEIVED", "SENT", "ERRORS", "DRIVER"}
			if len(answers) > 1 {
				return showRows(cmd, &f, answers, header, linkRows)
			}
			return show(cmd, &f, answers, func(w io.Writer, list []answer[machine.Network]) error {
				return writeNetwork(w, header, list[0].value)
			})
		},
	}
	f.add(cmd, true)
	return cmd
}

func linkRows(n machine.Network) (t table) {
	for _, l := range n.Links {
		state := l.State
		if l.Up && !l.Carrier {
			state += ", no carrier"
		}
		speed := ""
		if l.SpeedMbit > 0 {
			speed = fmt.Sprintf("%d Mbit/s", l.SpeedMbit)
		}
		driver := l.Driver
		if driver == "" {
			driver = l.Kind
		}
		errors := l.Received.Errors + l.Received.Dropped + l.Sent.Errors + l.Sent.Dropped
		t = append(t, []string{l.Name, state, strings.Join(l.Addresses, ", "), l.MAC, strconv.Itoa(l.MTU), speed,
			size(int64(l.Received.Bytes)), size(int64(l.Sent.Bytes)), strconv.FormatUint(errors, 10), driver})
	}
	return t
}

func writeNetwork(w io.Writer, header []string, n machine.Network) error {
	if err := append(table{header}, linkRows(n)...).write(w); err != nil {
		return err
	}
	routes := table{{"ROUTE TO", "VIA", "LINK", "FROM", "METRIC", "ORIGIN"}}
	for _, r := range n.Routes {
		routes = append(routes, []string{r.To, r.Via, r.Link, r.From, strconv.Itoa(r.Metric), r.Origin})
	}
	fmt.Fprintln(w)
	if err := routes.write(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return page{{"host name", n.Hostname}, {"name servers", strings.Join(n.Nameservers, ", ")}, {"search", strings.Join(n.Search, ", ")}}.write(w)
}
