package imagebuilder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/grub"
	"github.com/keelson-os/keelson/imagebuilder/pkgs"
	"github.com/keelson-os/keelson/imagebuilder/uki"
	"github.com/keelson-os/keelson/imagebuilder/verity"
	"github.com/keelson-os/keelson/upgrade/bootcontrol/grubenv"
)

// biosPackage has GRUB's images and modules.
const biosPackage = "grub-pc-bin"

// makeBIOS writes the loader for a BIOS to the system: biosCoreFile and biosBootFile. Boards without one need none.
func (b *builder) makeBIOS(ctx context.Context, s *system, set *pkgs.Set) error {
	if b.board.BIOS != boards.BIOSGRUB {
		return nil
	}
	p, err := set.Package(biosPackage)
	if err != nil {
		return err
	}
	d, err := biosDisk(b.board)
	if err != nil {
		return err
	}
	images, err := grub.Make(ctx, set.Tools().Command, filepath.Join(p.Dir, "usr", "lib", "grub", "i386-pc"), d, set.Epoch())
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(s.path(biosCoreFile), images.Core, 0o644), os.WriteFile(s.path(biosBootFile), images.Boot, 0o644))
}

// biosDisk is the board's disk as its loader for a BIOS knows it.
func biosDisk(b *boards.Board) (grub.Disk, error) {
	var d grub.Disk
	for i, p := range b.Partitions {
		switch p.Name {
		case "esp":
			d.ESP = i + 1
		case "bootstate":
			d.BootState = i + 1
		case "root-a":
			d.RootA = i + 1
		case "root-b":
			d.RootB = i + 1
		case "bios":
			d.Core, d.Room = int64(p.At), int64(p.Size)
		}
	}
	if d.Core == 0 {
		return d, fmt.Errorf("boards/%s/board.yaml: partitions: a board with bios: %s needs a partition bios with a place (at:)", b.Name, b.BIOS)
	}
	return d, nil
}

// biosFiles adds what the loader for a BIOS reads besides itself: the bootstate area, and in the UKI, which p becomes, a section.
func (b *builder) biosFiles(img *image, p *uki.Parts) error {
	if b.board.BIOS != boards.BIOSGRUB {
		return nil
	}
	var err error
	if img.bootState, err = grubenv.New(); err != nil {
		return err
	}
	img.parts = append(img.parts, img.sys.part("GRUB core image", biosCoreFile))
	tree := img.sys.info.Tree
	i := grub.Image{Cmdline: img.cmdline, Top: make([]byte, grub.TopSize), TopAt: tree.HashOffset + verity.BlockSize}
	root, err := os.Open(img.sys.path(rootFile))
	if err != nil {
		return err
	}
	_, err = root.ReadAt(i.Top, i.TopAt)
	if err := errors.Join(err, root.Close()); err != nil {
		return fmt.Errorf("read the top block of the root's hash tree: %w", err)
	}
	p.Fixed = &uki.Fixed{Name: grub.SectionName, At: grub.SectionAt, Size: grub.SectionSize, Content: func(initrd, linux uki.Extent) ([]byte, error) {
		i.Initrd, i.Linux = grub.Extent(initrd), grub.Extent(linux)
		return grub.Section(i)
	}}
	return nil
}
