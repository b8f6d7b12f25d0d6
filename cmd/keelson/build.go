//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder"
	"github.com/keelson-os/keelson/imagebuilder/vmimage"
)

var _ imagebuilder.Progress = (*progress)(nil)

func newBuildCommand() *cobra.Command {
	var o imagebuilder.Options
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build a disk image for a board",
		Long: `Builds a bootable disk image with both slots, as an ordinary user and without mounting
anything. Equal inputs give equal bytes. Beside the image come NAME.spdx.json, a bill of
materials of every file in its root, and NAME.manifest.json, which says what is in it.

An image with --config holds the cluster's secrets: it is readable by you alone, and is
as precious as secrets.yaml. Without --config, put keelson.yaml and secrets.yaml on the
image's FAT partition after flashing; the node waits for them.

Debian packages come from the mirror this computer uses itself, or from --mirror, at the
versions of the board's lock; signatures and digests are checked. They are kept in the
cache (~/.cache/keelson), and a build whose packages are all there asks no server.`,
		Example: `  keelson build --board pc --config homelab/server.yaml --out homelab.img
  keelson build --board pc --config homelab/server.yaml --out homelab.img --compress zst
  keelson build --board pc --config homelab/server.yaml --embed-image app.tar --manifest app.yaml --out app.img
  keelson build --board pc --karg mitigations=off --module i2c-dev --file rules.conf:/etc/my/ --out test.img
  keelson build --board pc --config homelab/server.yaml --out homelab.qcow2`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			time, err := completeBuild(&o)
			if err != nil {
				return err
			}
			p := newProgress(cmd.ErrOrStderr())
			o.Progress = p
			time.tell(p)
			r, err := imagebuilder.Build(cmd.Context(), o)
			p.end(err == nil)
			if err != nil {
				return explainFile(err, o.ConfigPath)
			}
			out := cmd.OutOrStdout()
			size := megabytes(r.Size)
			if r.Size != r.DiskSize {
				size += ", a disk of " + megabytes(r.DiskSize)
			}
			fmt.Fprintf(out, "%s  %s\n", r.Image, size)
			fmt.Fprintf(out, "%s  bill of materials\n%s  what is in the image\n", r.SBOM, r.Manifest)
			if !strings.HasSuffix(r.Image, ".zst") && r.Format != vmimage.VHD { // which nothing tells from a raw image
				fmt.Fprintf(out, "\nnext: keelson run %s\n", shellQuote(r.Image))
			}
			return nil
		},
	}
	buildFlags(cmd.Flags(), &o)
	return cmd
}

// buildFlags adds the flags of every verb that builds an image.
func buildFlags(f *pflag.FlagSet, o *imagebuilder.Options) {
	systemFlags(f, o)
	f.Lookup("config").Usage = "machine configuration to put into the image; release.pub and release-next.pub beside it are trusted"
	f.StringVar(&o.Out, "out", "", "image file to write (default keelson-BOARD.img, or .qcow2, .vmdk, .vhd with --format)")
	f.StringVar(&o.Format, "format", "", "raw, qcow2, vmdk or vhd (default: what --out ends in, else raw)")
	f.StringVar(&o.Compress, "compress", "", "zst: write the image compressed, as NAME.zst")
	f.StringArrayVar(&o.EmbedImages, "embed-image", nil, "container image archive (OCI layout or docker save; .tar, .tar.gz or .tar.zst) that the node has from its first boot; repeat it for more. \"keelson.dev/busybox:1\" is a small test image of Keelson's own")
	f.StringArrayVar(&o.Manifests, "manifest", nil, "Kubernetes manifest that the node applies; repeat it for more")
	f.BoolVar(&o.UpdateLock, "update-lock", false, "resolve the packages anew and write the lock (to --lock, or to boards/BOARD/packages.lock in a checkout of Keelson)")
}

// systemFlags adds the flags of every verb that builds a board's system.
func systemFlags(f *pflag.FlagSet, o *imagebuilder.Options) {
	f.StringVar(&o.Board, "board", "", "kind of machine; \"keelson boards\" lists them")
	f.StringVar(&o.ConfigPath, "config", "", "machine configuration of the nodes")
	f.StringVar(&o.Version, "version", version, "version that the nodes will tell")
	f.Int64Var(&o.Serial, "serial", noSerial, "number of this build; nodes never go back below the minimum of what they run (default: the time of the build, in seconds since 1970: SOURCE_DATE_EPOCH, or when this program was built)")
	f.Lookup("serial").DefValue = "0" // shows none
	f.Int64Var(&o.MinimumSerial, "minimum-serial", 0, "lowest serial that a node with this version may be upgraded to (default 0: any)")
	f.StringArrayVar(&o.TrustKeys, "trust", nil, "file with the public key of whoever may sign the nodes' next version; repeat it for more")
	f.StringArrayVar(&o.Kargs, "karg", nil, "kernel argument to add; repeat it for more")
	f.StringArrayVar(&o.Modules, "module", nil, "kernel module to add: by NAME, as in i2c-dev, and loaded at boot; or by path or pattern, as in drivers/net/wireguard, and loaded when a device asks for it; repeat it for more")
	f.StringArrayVar(&o.Files, "file", nil, "SRC:DST, a file or folder to add at the absolute path DST (in the folder DST, if it ends in /); repeat it for more")
	f.StringArrayVar(&o.Overlays, "overlay", nil, "folder whose files are added to the root at their paths in it; repeat it for more, later ones win")
	f.StringVar(&o.Programs, "programs", "", "folder with the node's programs (default: the folder named for the board's architecture beside this program)")
	f.StringVar(&o.CacheDir, "cache", "", "cache folder (default ~/.cache/keelson)")
	f.StringVar(&o.Mirror, "mirror", "", "Debian mirror, ARCHIVE or ARCHIVE,SECURITY (default: this computer's own)")
	f.StringVar(&o.LockFile, "lock", "", "package lock to use instead of the board's own")
	f.BoolVar(&o.AllowMoved, "allow-moved-packages", false, allowMovedUsage)
}

// allowMovedUsage describes the flag of every verb that fetches packages.
const allowMovedUsage = "where the mirror no longer has the locked package versions, take those it has now; the lock stays as it is"

// completeBuild fills in what flags left out.
func completeBuild(o *imagebuilder.Options) (buildTime, error) {
	board, err := completeSystem(o)
	if err != nil {
		return buildTime{}, err
	}
	if o.Out == "" {
		format, err := vmimage.Choose(o.Format, "")
		if err != nil {
			return buildTime{}, err
		}
		o.Out = "keelson-" + board.Name + format.Extension()
	}
	if o.UpdateLock && o.LockFile == "" {
		o.LockFile = filepath.Join("boards", board.Name, "packages.lock")
		if _, err := os.Stat(o.LockFile); errors.Is(err, fs.ErrNotExist) {
			return buildTime{}, errors.New("--update-lock: this is no checkout of Keelson; say which file to write with --lock, and use it in later builds")
		} else if err != nil {
			return buildTime{}, err
		}
	}
	return completeSerial(o)
}

// completeSystem fills in what systemFlags left out, but for the serial.
func completeSystem(o *imagebuilder.Options) (*boards.Board, error) {
	if o.Board == "" {
		return nil, fmt.Errorf("which board? Give one with --board: %s", strings.Join(boards.List(), ", "))
	}
	board, err := boards.Load(o.Board)
	if err != nil {
		return nil, err
	}
	if o.Programs == "" {
		self, err := os.Executable()
		if err == nil {
			self, err = filepath.EvalSymlinks(self)
		}
		if err != nil {
			return nil, fmt.Errorf("find the node's programs beside this one: %w; say where they are with --programs", err)
		}
		o.Programs = filepath.Join(filepath.Dir(self), board.Arch)
	}
	return board, nil
}
