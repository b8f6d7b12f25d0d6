//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/imagebuilder"
	"github.com/keelson-os/keelson/upgrade/bundle"
)

func newBundleBuildCommand() *cobra.Command {
	var o imagebuilder.BundleOptions
	var keyFile string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a bundle that upgrades a board's nodes",
		Long: `Builds one signed file that upgrades the nodes of a board: the root, and the boot files of a
slot. Give it what their image was built with (--module, --file, --overlay, --karg): a bundle
replaces all of the system and adds to nothing. Equal inputs give equal bytes. Beside it comes
FILE.spdx.json, a bill of materials.

--config names the nodes' configuration: none of it gets into the bundle. It says whether
Traefik belongs to the system; the key that signs is release.key beside it, unless --key
names another; and release.pub and release-next.pub beside it are the keys that the
upgraded nodes will trust.`,
		Example: `  keelson bundle build --board pc --config homelab/server.yaml --version 0.2.0 --out pc-0.2.0.keelson
  keelson bundle build --board rpi --key release.key --trust release.pub --trust next.pub --out rpi.keelson`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			board, err := completeSystem(&o.Options)
			if err != nil {
				return err
			}
			if o.Out == "" {
				o.Out = "keelson-" + board.Name + bundleExtension
			}
			time, err := completeSerial(&o.Options)
			if err != nil {
				return err
			}
			o.Created = time.Time
			if o.Key, err = signingKey(keyFile, o.ConfigPath, cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			p := newProgress(cmd.ErrOrStderr())
			o.Progress = p
			time.tell(p)
			r, err := imagebuilder.Bundle(cmd.Context(), o)
			p.end(err == nil)
			if err != nil {
				return explainFile(err, o.ConfigPath)
			}
			out := cmd.OutOrStdout()
			m := &r.Manifest
			fmt.Fprintf(out, "%s  %s: %s %s, serial %d, signed by %s\n", r.File, megabytes(r.Size), m.Board, m.Version, m.Serial, r.Key)
			fmt.Fprintf(out, "%s  bill of materials\n\nnext: keelson upgrade %s\n", r.SBOM, shellQuote(r.File))
			return nil
		},
	}
	f := cmd.Flags()
	systemFlags(f, &o.Options)
	f.StringVar(&o.Out, "out", "", "bundle to write (default keelson-BOARD"+bundleExtension+")")
	f.StringVar(&keyFile, "key", "", "file with the private key that signs (default: release.key beside --config)")
	return cmd
}

// signingKey reads the private key in file, or else the one beside the configuration.
func signingKey(file, configPath string, stdin io.Reader, stderr io.Writer) (bundle.PrivateKey, error) {
	if file == "" && configPath != "" {
		file = filepath.Join(filepath.Dir(configPath), config.ReleaseKey)
	}
	if file == "" {
		return bundle.PrivateKey{}, errors.New("which key signs the bundle? Give one with --key: \"keelson config new\" and \"keelson bundle key new\" make them")
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return bundle.PrivateKey{}, fmt.Errorf("the key that signs the bundle: %w; give another with --key: \"keelson config new\" and \"keelson bundle key new\" make them", err)
	}
	if err != nil {
		return bundle.PrivateKey{}, err
	}
	key, err := bundle.ParsePrivateKey(text, func() ([]byte, error) {
		f, ok := terminal(stdin)
		if !ok {
			return nil, errors.New("it is protected by a password: run this on a terminal, where it can be asked for")
		}
		fmt.Fprintf(stderr, "password of %s: ", file)
		password, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(stderr)
		return password, err
	})
	if err != nil {
		return key, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}
