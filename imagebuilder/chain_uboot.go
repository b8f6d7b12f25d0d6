package imagebuilder

import (
	"path"

	"github.com/keelson-os/keelson/imagebuilder/uboot"
	"github.com/keelson-os/keelson/upgrade/bootcontrol/ubootenv"
)

// ubootFiles puts the boot script, the slot's folder and the first boot state where U-Boot looks for them.
func (b *builder) ubootFiles(img *image) error {
	script, err := uboot.Script(b.board.UBoot, img.sys.info.Epoch)
	if err != nil {
		return err
	}
	env, err := uboot.BootEnv(img.cmdline)
	if err != nil {
		return err
	}
	if img.bootState, err = ubootenv.New(); err != nil {
		return err
	}
	img.note("boot script", script)
	img.esp = append(img.esp, dataFile("boot.scr", script))
	img.slot = append(img.sys.kernelFiles(), dataFile(slotFolder+"boot.env", env))
	if b.board.UBoot.DeviceTree == "file" {
		img.slot = append(img.slot, img.sys.folder(treeFolder, func(name string) string { return slotFolder + "dtb/" + name })...)
		return nil
	}
	// The firmware reads them from the root, and passes one on to U-Boot.
	img.esp = append(img.esp, img.sys.folder(treeFolder, path.Base)...)
	return nil
}
