package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newSupportCommand() *cobra.Command {
	var f nodeFlags
	var out string
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Fetch what one needs to find out what is wrong with nodes",
		Long: `Fetches an archive (tar.gz) of each node with its status, logs, kernel messages, events,
configuration and more. It holds no secret: keys, tokens and passwords are taken out by the
node.`,
		Example: "  keelson support -n kitchen\n  keelson support --out kitchen.tar.gz",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			nodes, err := f.open(false)
			if err != nil {
				return err
			}
			if out != "" && len(nodes) > 1 {
				return fmt.Errorf("--out is for one node, and there are %d: leave it out, and each gets a file of its own", len(nodes))
			}
			now := time.Now().UTC().Format("20060102-150405")
			answers := askAll(cmd.Context(), nodes, 0, func(ctx context.Context, n *node) (string, error) {
				path := out
				if path == "" {
					path = fmt.Sprintf("keelson-support-%s-%s.tar.gz", strings.NewReplacer(":", "_", "[", "", "]", "", "%", "_").Replace(n.name), now)
				}
				r, err := n.Support(ctx)
				if err != nil {
					return "", err
				}
				defer r.Close()
				return path, saveNew(path, r)
			})
			for _, a := range good(answers) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", a.node.name, a.value)
			}
			return failures(cmd.Context(), cmd.ErrOrStderr(), answers)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write (default keelson-support-NODE-TIME.tar.gz)")
	f.add(cmd, false)
	return cmd
}

// saveNew writes a new file of mode 0600; what is there is not replaced, and half a file does not stay.
func saveNew(path string, r io.Reader) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return &nodeError{path + " is there already: remove it, or choose another name with --out", err}
	}
	if err != nil {
		return &nodeError{err.Error(), err}
	}
	_, err = io.Copy(file, r)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func newKubeconfigCommand() *cobra.Command {
	var f nodeFlags
	var out string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Fetch the administrator's kubeconfig from a node",
		Long: `Fetches a kubeconfig for the cluster's administrator, whose server is the node at the
address that was dialled. It is as good as the node's own; who has the cluster's folder
has one already.`,
		Example: "  keelson kubeconfig -n kitchen --out kitchen.kubeconfig\n  keelson kubeconfig > kubeconfig",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := f.one()
			if err != nil {
				return err
			}
			answers := askAll(cmd.Context(), []*node{n}, answerLimit, func(ctx context.Context, n *node) ([]byte, error) {
				text, err := n.Kubeconfig(ctx)
				if err == nil && out != "" {
					err = saveNew(out, bytes.NewReader(text))
				}
				return text, err
			})
			if err := failures(cmd.Context(), cmd.ErrOrStderr(), answers); err != nil {
				return err
			}
			if out == "" {
				_, err = cmd.OutOrStdout().Write(answers[0].value)
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write (default: print it)")
	f.add(cmd, false)
	return cmd
}
