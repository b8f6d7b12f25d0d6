package imagebuilder

import (
	"path"

	"github.com/keelson-os/keelson/imagebuilder/pi"
	"github.com/keelson-os/keelson/upgrade/bootcontrol/pislot"
)

// piFiles puts slot.txt and the slot's folder where the Raspberry Pi's firmware looks for them.
func (b *builder) piFiles(img *image) error {
	line, err := pi.Cmdline(img.cmdline)
	if err != nil {
		return err
	}
	img.esp = append(img.esp, dataFile("slot.txt", pislot.Slot("a")))
	img.slot = append(img.sys.kernelFiles(), dataFile(slotFolder+"cmdline.txt", line))
	img.slot = append(img.slot, img.sys.folder(treeFolder, func(name string) string { return slotFolder + path.Base(name) })...)
	return nil
}
