package imagebuilder

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/disk"
	"github.com/keelson-os/keelson/imagebuilder/output"
	"github.com/keelson-os/keelson/imagebuilder/vmimage"
)

// format returns the format that the image is written in. Errors: vmimage.ErrFormat, vmimage.ErrTool, and a format
// that is to be compressed in addition.
func (o *Options) format() (vmimage.Format, error) {
	f, err := vmimage.Choose(o.Format, strings.TrimSuffix(o.Out, ".zst"))
	if err != nil {
		return "", err
	}
	if _, _, _, compressed := o.names(); compressed && f != vmimage.Raw {
		return "", fmt.Errorf("--compress zst: not for %s, which virtual machines read as it is; nothing would be gained, what is in the image is compressed", f)
	}
	return f, vmimage.Check(f)
}

// convert makes the raw disk in raw, which for a VHD is out itself, the image in out, and returns its size in bytes.
func (b *builder) convert(ctx context.Context, out, raw *output.File, img *image) (int64, error) {
	id := disk.UUID(img.disk.Seed, "virtual disk")
	if b.format == vmimage.VHD {
		return img.diskSize + vmimage.FooterSize, vmimage.AppendFooter(out, img.diskSize, id, img.sys.info.Epoch)
	}
	if err := out.Expect(img.content); err != nil {
		return 0, err
	}
	b.progress.Step("converting the image to "+string(b.format), 0)
	name, _, _, _ := b.opts.names()
	// 0 and 0xffffffff have a meaning of their own in a VMDK.
	cid := binary.BigEndian.Uint32(id[:])>>1 | 1
	if err := vmimage.Convert(ctx, b.format, raw.Name(), out.Name(), filepath.Base(name), cid); err != nil {
		return 0, err
	}
	st, err := os.Stat(out.Name())
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
