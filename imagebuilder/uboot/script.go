package uboot

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/upgrade/bootcontrol/ubootenv"
)

//go:embed boot.cmd
var bootCmd string

// Script returns boot.scr for a board. Its time is epoch.
func Script(u *boards.UBoot, epoch time.Time) ([]byte, error) {
	text := strings.NewReplacer(
		"@KERNEL@", hex(u.Kernel), "@INITRD@", hex(u.Initrd), "@FDT@", hex(u.FDT), "@SCRATCH@", hex(u.Scratch),
		"@DEVICE_TREE@", u.DeviceTree,
		"@COMMITTED@", fmt.Sprintf("%#x", ubootenv.CommittedSector), "@TRIAL@", fmt.Sprintf("%#x", ubootenv.TrialSector), "@COPY@", fmt.Sprintf("%#x", ubootenv.CopySector),
	).Replace(bootCmd)
	if strings.Contains(text, "@") {
		return nil, errors.New("uboot: BUG: boot.cmd has a placeholder that nobody fills in")
	}
	return image([]byte(text), epoch), nil
}

func hex(a boards.Address) string { return fmt.Sprintf("%#x", uint64(a)) }

const (
	headerSize   = 64
	legacyMagic  = 0x27051956
	osLinux      = 5
	archARM64    = 22
	typeScript   = 6
	nameOffset   = 32
	headerCRCOff = 4
)

// image wraps a script as a legacy image: a header of 64 bytes, all numbers big endian, then
// the length of the script, a zero that ends the list of lengths, and the script.
// Source: U-Boot include/image.h, struct legacy_img_hdr; cmd/source.c.
func image(script []byte, epoch time.Time) []byte {
	be := binary.BigEndian
	out := make([]byte, headerSize+8+len(script))
	be.PutUint32(out[headerSize:], uint32(len(script)))
	data := out[headerSize:]
	copy(data[8:], script)
	be.PutUint32(out[0:], legacyMagic)
	be.PutUint32(out[8:], uint32(epoch.Unix()))
	be.PutUint32(out[12:], uint32(len(data)))
	be.PutUint32(out[24:], crc32.ChecksumIEEE(data))
	out[28], out[29], out[30] = osLinux, archARM64, typeScript
	copy(out[nameOffset:headerSize], "Keelson boot script")
	be.PutUint32(out[headerCRCOff:], crc32.ChecksumIEEE(out[:headerSize]))
	return out
}
