package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keelson-os/keelson/config"
	"github.com/keelson-os/keelson/flash"
	"github.com/keelson-os/keelson/flash/drive"
)

// configEdit are the flags of "keelson config edit".
type configEdit struct {
	target string
	print  bool
	allow  []string
	change flash.Change
}

func newConfigEditCommand() *cobra.Command {
	var o configEdit
	cmd := &cobra.Command{
		Use:   "edit TARGET",
		Short: "Read or change keelson.yaml in an image or on a disk",
		Long: `Reads or changes the machine configuration on the FAT partition of TARGET, an image or a
disk, without mounting it. Without flags it opens keelson.yaml in your editor ($VISUAL or
$EDITOR). What is written is checked first, as "keelson config validate" does.

A node takes the configuration off the FAT partition when it starts. To change that of a
node that has started before, put a whole new one there with --file: it is taken at the
next start. The secrets may be left out then; the node has kept them.`,
		Example: `  keelson config edit homelab.img
  keelson config edit homelab.img --print
  keelson config edit homelab.img --hostname kitchen-pi --set cluster.node-ip=192.168.1.11
  sudo keelson config edit /dev/sdb --unset network
  sudo keelson config edit /dev/sdb --file homelab/server.yaml`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.target = args[0]
			if o.print {
				if !o.change.Empty() {
					return errors.New("--print only reads: leave the other flags out")
				}
				return o.show(cmd)
			}
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.print, "print", false, "print keelson.yaml")
	f.StringVar(&o.change.Hostname, "hostname", "", "host name to set")
	f.StringArrayVar(&o.change.Set, "set", nil, "KEY=VALUE to set, as in cluster.node-ip=192.168.1.11; the value is YAML; repeat it for more")
	f.StringArrayVar(&o.change.Unset, "unset", nil, "KEY to remove; repeat it for more")
	f.StringVar(&o.change.File, "file", "", "configuration to put in place of the old one, with the secrets file it names, if that is there")
	f.StringVar(&o.change.Secrets, "secrets", "", "secrets file to put beside it, as secrets.yaml")
	allowFlag(f, &o.allow)
	return cmd
}

// find looks the target up, which must be there.
func (o *configEdit) find(ctx context.Context) (*drive.Disk, error) {
	d, err := drive.Find(ctx, o.target)
	if err != nil {
		return nil, err
	}
	if d.IsFile() && d.Size == 0 {
		if _, err := os.Stat(o.target); err != nil {
			return nil, explainImage(err)
		}
		return nil, fmt.Errorf("%s is empty, expected an image or a disk", o.target)
	}
	return d, nil
}

// show prints the configuration.
func (o *configEdit) show(cmd *cobra.Command) (err error) {
	d, err := o.find(cmd.Context())
	if err != nil {
		return err
	}
	var b *flash.Boot
	if d.IsFile() {
		img, err := flash.OpenImage(cmd.Context(), o.target, silent{})
		if err != nil {
			return err
		}
		v, closer, openErr := img.Boot()
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, closer.Close()) }()
		b = &flash.Boot{Volume: v, Booted: img.Booted()}
	} else {
		f, openErr := os.Open(d.Path)
		if openErr != nil {
			return openErr
		}
		defer f.Close()
		if b, err = flash.OpenBoot(f, d.Size); err != nil {
			return fmt.Errorf("%s: %w", d.Path, err)
		}
	}
	text, err := b.ReadConfig()
	if err != nil {
		return o.explain(b, err)
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

// explain says what to do when there is no configuration.
func (o *configEdit) explain(b *flash.Boot, err error) error {
	switch {
	case !errors.Is(err, flash.ErrNoConfig):
		return err
	case b.Booted:
		return fmt.Errorf("%s: %w: the node has started from it and keeps its configuration on the state partition; "+
			"put a whole new one there with --file server.yaml, which it takes at its next start", o.target, err)
	}
	return fmt.Errorf("%s: %w: put one there with --file server.yaml (\"keelson config new NAME\" makes one)", o.target, err)
}

func (o *configEdit) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	allow, err := allowed(o.allow)
	if err != nil {
		return err
	}
	d, err := o.find(ctx)
	if err != nil {
		return err
	}
	allow = append(allow, drive.NotRemovable) // nothing but one file changes
	if err := d.Check(0, allow); err != nil {
		return overrule(err)
	}
	if d.IsFile() {
		if err := editable(ctx, o.target); err != nil {
			return err
		}
	}
	dev, err := claim(ctx, d, 0, allow)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	b, err := flash.OpenBoot(dev, dev.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", o.target, err)
	}
	var files map[string][]byte
	if o.change.Empty() {
		files, err = o.interactive(cmd, b)
	} else {
		files, err = b.Apply(o.change)
	}
	if err != nil || files == nil {
		return o.explain(b, err)
	}
	if err := flash.WriteFiles(b.Volume, files, time.Now()); err != nil {
		return fmt.Errorf("%s: %w", o.target, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s is changed\n", o.target, config.FileName)
	if b.Booted {
		fmt.Fprintln(cmd.OutOrStdout(), "the node takes it at its next start, in place of the one it has")
	}
	return nil
}

// editable refuses a file in which nothing can be changed in its place.
func editable(ctx context.Context, path string) error {
	img, err := flash.OpenImage(ctx, path, silent{})
	if err != nil {
		return err
	}
	if img.Compressed() {
		return fmt.Errorf("%s is compressed: unpack it first (zstd -d), or give the values to \"keelson flash\", which has the same --hostname and --set", path)
	}
	return nil
}

// interactive lets the user edit the text until it is right. No files: nothing changed.
func (o *configEdit) interactive(cmd *cobra.Command, b *flash.Boot) (map[string][]byte, error) {
	old, err := b.ReadConfig()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keelson-edit-") // 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, config.FileName)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		return nil, err
	}
	for {
		if err := runEditor(cmd, path); err != nil {
			return nil, err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(text, old) {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing was changed\n", o.target)
			return nil, nil
		}
		err = b.Check(text)
		if err == nil {
			return map[string][]byte{config.FileName: text}, nil
		}
		f, ok := terminal(cmd.InOrStdin())
		if !ok {
			return nil, fmt.Errorf("nothing was written: %w", err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%v\n\nEdit it again? [Y/n] ", err)
		var answer string
		if _, scanErr := fmt.Fscanln(f, &answer); scanErr != nil && answer != "" || strings.HasPrefix(strings.ToLower(answer), "n") {
			return nil, fmt.Errorf("nothing was written: %w", err)
		}
	}
}

// runEditor opens a file in the user's editor and waits.
func runEditor(cmd *cobra.Command, path string) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"))
	if editor == "" {
		candidates := []string{"sensible-editor", "nano", "vi"}
		if runtime.GOOS == "windows" {
			candidates = []string{"notepad.exe"}
		}
		for _, c := range candidates {
			if _, err := exec.LookPath(c); err == nil {
				editor = c
				break
			}
		}
	}
	words := strings.Fields(editor) // EDITOR="code --wait"
	if len(words) == 0 {
		return errors.New("no editor was found: set EDITOR, or change the file with --set or --file")
	}
	e := exec.CommandContext(cmd.Context(), words[0], append(words[1:], path)...)
	e.Stdin, e.Stdout, e.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := e.Run(); err != nil {
		return fmt.Errorf("editor %s: %w", editor, err)
	}
	return nil
}
