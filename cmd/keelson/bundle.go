package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/upgrade/bundle"
)

// bundleExtension ends the name of a bundle by custom; nothing depends on it.
const bundleExtension = ".keelson"

func newBundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Make and check bundles, the signed files that upgrade nodes",
	}
	group(cmd, newBundleBuildCommand(), newBundleInspectCommand(), newBundleVerifyCommand(), newBundleKeyCommand())
	return cmd
}

// openBundle opens a bundle and reads its header. The caller closes the file.
func openBundle(name string) (*os.File, *bundle.Header, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("is no regular file")}
	}
	var h *bundle.Header
	if err == nil {
		if h, err = bundle.ReadHeader(f, st.Size()); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, h, nil
}

func newBundleInspectCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a bundle says of itself",
		Long: `Shows the manifest of a bundle, what it brings, and the id of the key that it says signed
it. All of that is what the file claims: "keelson bundle verify" checks it.`,
		Example: "  keelson bundle inspect pc-0.2.0.keelson\n  keelson bundle inspect pc-0.2.0.keelson -o json",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			f, h, err := openBundle(args[0])
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			id, err := h.KeyID()
			if err != nil { // what the bundle says of itself may tell why
				fmt.Fprintf(cmd.ErrOrStderr(), "keelson: %s: %v\n", args[0], err)
			}
			if output != outputTable {
				// As it was signed, with what a later version may have added.
				return writeValue(cmd.OutOrStdout(), output, struct {
					KeyID    string          `json:"keyID"`
					Manifest json.RawMessage `json:"manifest"`
				}{id, h.ManifestBytes})
			}
			_, err = cmd.OutOrStdout().Write(bundleTable(h, id))
			return err
		},
	}
	addOutput(cmd, &output)
	return cmd
}

// bundleTable shows a bundle's manifest to people.
func bundleTable(h *bundle.Header, keyID string) []byte {
	m := &h.Manifest
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	for _, row := range [][2]string{
		{"board", m.Board + " (" + m.Arch + ")"},
		{"version", m.Version},
		{"serial", fmt.Sprintf("%d (demands at least %d of what replaces it)", m.Serial, m.MinimumSerial)},
		{"kubernetes", m.Kubernetes},
		{"kernel", m.Kernel},
		{"created", m.Created},
		{"root hash", m.RootHash},
		{"signed by", keyID},
	} {
		if row[1] == "" {
			row[1] = "-"
		}
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	fmt.Fprintf(w, "\nARTEFACT\tBYTES\tSHA-256\n")
	for _, a := range m.Artefacts {
		fmt.Fprintf(w, "%s\t%d\t%s\n", a.Name, a.Size, a.SHA256)
	}
	w.Flush() // to memory
	return out.Bytes()
}

func newBundleVerifyCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a bundle's signature and every byte of it",
		Long: `Checks that one of the keys signed the bundle and that all of its bytes are those that were
signed, as a node does. Exits with 1 if not.`,
		Example: "  keelson bundle verify pc-0.2.0.keelson --key homelab/release.pub",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			keys, err := publicKeys(files)
			if err != nil {
				return err
			}
			f, h, err := openBundle(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			key, err := h.Verify(keys)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := bundle.VerifyAll(cmd.Context(), f, h); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			m := &h.Manifest
			fmt.Fprintf(cmd.OutOrStdout(), "%s: OK: %s %s, serial %d, signed by %s\n", args[0], m.Board, m.Version, m.Serial, key.KeyID())
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&files, "key", nil, "file with a public key that is trusted; repeat it for more")
	return cmd
}

// publicKeys reads the files of --key.
func publicKeys(files []string) ([]bundle.PublicKey, error) {
	if len(files) == 0 {
		return nil, errors.New("which key is trusted? Give its public one with --key, such as NAME/release.pub of \"keelson config new NAME\"")
	}
	var keys []bundle.PublicKey
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		key, err := bundle.ParsePublicKey(string(text))
		if err != nil {
			return nil, fmt.Errorf("--key %s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func newBundleKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make keys that sign bundles",
	}
	group(cmd, newBundleKeyNewCommand())
	return cmd
}

func newBundleKeyNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Make a pair of keys",
		Long: `Makes NAME.key, which signs bundles, and NAME.pub, which images and bundles name with --trust.
Both are in the formats of minisign(1); the private one has no password ("minisign -C -s NAME.key"
gives it one). "keelson config new" has made a cluster's first two pairs. Files that are
there are never written over.`,
		Example: "  keelson bundle key new homelab/release-2028",
		Args:    arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := newKeyPair(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s.key  signs bundles: keep it safe\n%s.pub  its public key, id %s\n", args[0], args[0], key.KeyID())
			return nil
		},
	}
}

// newKeyPair writes a new pair to name.key and name.pub: both or none.
func newKeyPair(name string) (bundle.PublicKey, error) {
	if strings.HasSuffix(name, ".key") || strings.HasSuffix(name, ".pub") {
		return bundle.PublicKey{}, fmt.Errorf("%s: give the name without its ending: NAME.key and NAME.pub are made", name)
	}
	key, public, secret, err := bundle.GenerateKey("keelson release key")
	if err != nil {
		return key, err
	}
	var made []string
	for _, x := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{{name + ".key", secret, 0o600}, {name + ".pub", public, 0o644}} {
		if err := writeNew(x.name, x.data, x.mode); err != nil {
			for _, m := range made {
				err = errors.Join(err, os.Remove(m))
			}
			return key, err
		}
		made = append(made, x.name)
	}
	return key, nil
}

// writeNew makes a file that is not there yet, and syncs it.
func writeNew(name string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; a key cannot be made again: choose another name", err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
