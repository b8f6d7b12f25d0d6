package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keelson-os/keelson/flash"
	"github.com/keelson-os/keelson/flash/drive"
)

// flashOptions are the flags of "keelson flash".
type flashOptions struct {
	build    imageBuild
	image    string
	device   string // "": list the disks
	yes      bool
	all      bool
	noVerify bool
	allow    []string
	change   flash.Change
}

func newFlashCommand() *cobra.Command {
	var o flashOptions
	cmd := &cobra.Command{
		Use:   "flash [IMAGE] [DEVICE]",
		Short: "Write an image to a disk, and check that it is there",
		Long: `Writes an image to a whole disk: an SD card, a USB stick, an SSD. Without DEVICE it
lists the disks that can be taken out, and says what to type. All that is on the disk is
lost, so you are asked first, by the disk's size and model.

The image may be compressed (.img.zst). It is written past the system's cache, read back
and compared, and the partition table is written last: a disk that was pulled out too
early has none, and the same command repairs it. A regular file can take the place of
DEVICE; it is made if it is not there.

--hostname and --set change keelson.yaml on the disk, not in the image: one image for many
nodes. "keelson config edit" does the same later.

A disk that is mounted, in use, built in, the system's own, or only a partition is
refused; --allow with the word in the message overrules one of these.`,
		Example: `  keelson flash homelab.img
  sudo keelson flash homelab.img /dev/sdb
  sudo keelson flash homelab.img.zst /dev/sdb --hostname kitchen-pi --set cluster.node-ip=192.168.1.11
  sudo keelson flash homelab.img /dev/sdb --yes --allow mounted`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.arguments(cmd, args); err != nil {
				return err
			}
			return o.run(cmd)
		},
	}
	if runtime.GOOS == "linux" {
		cmd.Example += `
  sudo keelson flash --board pc --config homelab/server.yaml /dev/sdb`
	}
	f := cmd.Flags()
	o.build.flags(f)
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.BoolVar(&o.all, "all", false, "list built-in disks too")
	f.BoolVar(&o.noVerify, "no-verify", false, "do not read back what was written")
	allowFlag(f, &o.allow)
	f.StringVar(&o.change.Hostname, "hostname", "", "host name to put into keelson.yaml on the disk")
	f.StringArrayVar(&o.change.Set, "set", nil, "KEY=VALUE to put into keelson.yaml on the disk, as in cluster.node-ip=192.168.1.11; the value is YAML; repeat it for more")
	return cmd
}

// allowFlag adds the flag of every verb that changes a disk; allowed reads its words.
func allowFlag(f *pflag.FlagSet, list *[]string) {
	f.StringSliceVar(list, "allow", nil, "overrule a refusal, by its word: "+words(drive.Refusals())+"; repeat it for more")
}

// words joins refusals for a text.
func words(list []drive.Refusal) string {
	var out []string
	for _, r := range list {
		out = append(out, string(r))
	}
	return strings.Join(out, ", ")
}

// arguments takes [IMAGE] [DEVICE], or [DEVICE] alone when the image is built.
func (o *flashOptions) arguments(cmd *cobra.Command, args []string) error {
	most := 2
	if o.build.wanted() {
		most = 1
	}
	if len(args) > most {
		return fmt.Errorf("unexpected argument %q, expected: %s (\"%s --help\" shows examples)", args[most], cmd.UseLine(), cmd.CommandPath())
	}
	if !o.build.wanted() && len(args) > 0 {
		o.image, args = args[0], args[1:]
	}
	if len(args) > 0 {
		o.device = args[0]
	}
	return nil
}

// allowed checks the words of --allow.
func allowed(list []string) ([]drive.Refusal, error) {
	var out []drive.Refusal
	for _, s := range list {
		if !slices.Contains(drive.Refusals(), drive.Refusal(s)) {
			return nil, fmt.Errorf("--allow: found %q, expected one of %s", s, words(drive.Refusals()))
		}
		out = append(out, drive.Refusal(s))
	}
	return out, nil
}

// overrule adds to a refusal how it is overruled.
func overrule(err error) error {
	var refused *drive.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	hint := ""
	if refused.Why == drive.Mounted {
		hint = " (it is unmounted then)"
	}
	return fmt.Errorf("%w; to do it all the same: --allow %s%s", err, refused.Why, hint)
}

func (o *flashOptions) run(cmd *cobra.Command) (err error) {
	ctx, stdout, stderr := cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	allow, err := allowed(o.allow)
	if err != nil {
		return err
	}
	if o.device == "" {
		return o.list(ctx, stdout)
	}
	// What speaks against the disk is said before anything takes time.
	disk, err := drive.Find(ctx, o.device)
	if err != nil {
		return err
	}
	if err := disk.Check(0, allow); err != nil {
		return overrule(err)
	}
	if o.build.wanted() {
		image, remove, buildErr := o.build.run(ctx, stderr)
		if buildErr != nil {
			return buildErr
		}
		defer func() { err = errors.Join(err, remove()) }()
		o.image = image
	}
	if err := sameFile(o.image, o.device); err != nil {
		return err
	}

	img, files, err := o.open(ctx, stderr)
	if err != nil {
		return err
	}
	if err := disk.Check(img.Size, allow); err != nil {
		return overrule(err)
	}
	if !o.yes {
		if err := confirm(cmd.InOrStdin(), stderr, disk); err != nil {
			return err
		}
	}
	dev, err := claim(ctx, disk, img.Size, allow)
	if err != nil {
		return err
	}
	p := newProgress(stderr)
	r, err := flash.Write(ctx, img, dev, flash.Options{Files: files, NoVerify: o.noVerify, Now: time.Now()}, p)
	err = errors.Join(err, dev.Close())
	p.end(err == nil)
	if err != nil {
		return err
	}
	o.report(ctx, stdout, stderr, disk, r)
	return nil
}

// open opens the image and makes the files that only this disk gets.
func (o *flashOptions) open(ctx context.Context, stderr io.Writer) (img *flash.Image, files map[string][]byte, err error) {
	p := newProgress(stderr)
	defer func() { p.end(err == nil) }()
	if img, err = flash.OpenImage(ctx, o.image, p); err != nil {
		return nil, nil, explainImage(err)
	}
	files, err = img.NodeFiles(ctx, o.change)
	return img, files, err
}

// claim unmounts what is mounted of a disk, looks at it once more, and opens it.
func claim(ctx context.Context, disk *drive.Disk, size int64, allow []drive.Refusal) (*drive.Device, error) {
	path, _ := disk.Target()
	if len(disk.Uses) > 0 {
		if err := disk.Unmount(ctx); err != nil {
			return nil, err
		}
	}
	now, err := drive.Find(ctx, path)
	if err != nil {
		return nil, err
	}
	if now.Size != disk.Size || now.Model != disk.Model {
		return nil, fmt.Errorf("%s is not the disk any more that it was (%s, %s): run the command again", path, megabytes(disk.Size), disk.Describe())
	}
	if err := now.Check(size, allow); err != nil {
		return nil, overrule(err)
	}
	return now.Open(ctx, size, allow)
}

// report says what was done and what comes next.
func (o *flashOptions) report(ctx context.Context, stdout, stderr io.Writer, disk *drive.Disk, r flash.Result) {
	path, _ := disk.Target()
	rate := func(d time.Duration) string {
		return fmt.Sprintf("%.0f MB/s", float64(r.Bytes)/1e6/max(d.Seconds(), 1e-3))
	}
	checked := "not read back"
	if r.Reading > 0 {
		checked = "read back and compared at " + rate(r.Reading)
	}
	fmt.Fprintf(stdout, "%s: %s written in %.1f s (%s), %s\n", path, megabytes(r.Bytes), r.Writing.Seconds(), rate(r.Writing), checked)
	if disk.IsFile() {
		return
	}
	if err := disk.Eject(ctx); err != nil {
		fmt.Fprintf(stderr, "the disk is finished, but did not come out: %v\n", err)
		return
	}
	fmt.Fprintf(stdout, "\nnext: take the disk out, put it into the board and power that on\n")
}

// sameFile refuses to write an image onto itself.
func sameFile(image, device string) error {
	a, err := os.Stat(image)
	if err != nil {
		return explainImage(err)
	}
	if b, err := os.Stat(device); err == nil && os.SameFile(a, b) {
		return fmt.Errorf("%s is the image itself: give a disk, or another file", device)
	}
	return nil
}

// explainImage says what to do about an image that is not there.
func explainImage(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; \"keelson build\" makes images", err)
	}
	return err
}
