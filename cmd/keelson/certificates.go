package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/machine"
)

func newCertificatesCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "certificates",
		Short: "List the certificates of nodes, and when they expire",
		Long: `Lists every certificate that a node has. A node renews by itself, in the last third of
their lives, all that it has issued; those that it cannot renew are marked, and
"keelson certificates renew" renews the others now.`,
		Example: "  keelson certificates\n  keelson certificates renew -n kitchen",
		Args:    arguments,
		RunE: asking(&f, func(n *node) call[[]machine.Certificate] { return n.Certificates },
			[]string{"NAME", "SUBJECT", "ISSUER", "EXPIRES", "LEFT", "RENEWED", "PROBLEM"}, func(list []machine.Certificate) (t table) {
				for _, c := range list {
					renewed := "no"
					switch {
					case c.Renewable:
						renewed = "by itself"
					case c.CA:
						renewed = "no (a CA)"
					}
					left := ""
					if !c.NotAfter.IsZero() {
						left = span(time.Until(c.NotAfter))
					}
					t = append(t, []string{c.Name, c.Subject, c.Issuer, at(c.NotAfter), left, renewed, c.Problem})
				}
				return t
			}),
	}
	f.add(cmd, true)
	cmd.AddCommand(newCertificatesRenewCommand())
	return cmd
}

func newCertificatesRenewCommand() *cobra.Command {
	var f nodeFlags
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Issue anew all certificates that nodes can",
		Long: `Lets a node issue all its certificates anew but those of the certificate authorities, and
restarts its Kubernetes process for that. Pods go on meanwhile.`,
		Example: "  keelson certificates renew -n kitchen",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := f.open(true)
			if err != nil {
				return err
			}
			answers := askAll(cmd.Context(), nodes, answerLimit, func(ctx context.Context, n *node) (machine.Renewal, error) { return n.RenewCertificates(ctx) })
			return show(cmd, &f, answers, func(w io.Writer, list []answer[machine.Renewal]) error {
				for _, a := range list {
					fmt.Fprintf(w, "%s: %d certificates are issued anew: %s\n", a.node.name, len(a.value.Removed), printable(strings.Join(a.value.Removed, ", ")))
				}
				return nil
			})
		},
	}
	f.add(cmd, true)
	return cmd
}
