package rockchip_test

import (
	"bytes"
	"crypto/rc4"
	"encoding/binary"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
	"github.com/keelson-os/keelson/tests/firmware/rockchip"
)

const mib = handmade.MiB

// idbloader is a header, 2 KiB long with its padding, a first program of init bytes and an SPL of spl bytes.
func idbloader(t *testing.T, tag string, init, spl int, change func(header []byte)) []byte {
	t.Helper()
	b := make([]byte, 2048)
	le := binary.LittleEndian
	le.PutUint32(b, 0x0FF0AA55)
	le.PutUint32(b[8:], 1)
	le.PutUint16(b[12:], 4)
	le.PutUint16(b[506:], uint16(init/512))
	le.PutUint16(b[508:], uint16((init+spl)/512))
	if change != nil {
		change(b)
	}
	c, err := rc4.NewCipher([]byte{124, 78, 3, 4, 85, 5, 9, 7, 45, 44, 123, 56, 23, 13, 23, 17})
	if err != nil {
		t.Fatal(err)
	}
	c.XORKeyStream(b[:512], b[:512])
	b = append(b, tag...)
	b = append(b, bytes.Repeat([]byte{1}, init-len(tag))...)
	return append(b, bytes.Repeat([]byte{2}, spl)...)
}

func TestOneBrokenDetailIsOneFault(t *testing.T) {
	for _, c := range []struct {
		name   string
		chip   rockchip.Chip
		loader []byte
		fit    []byte
		first  int64 // start of the first partition; 0: 16 MiB
		want   string
	}{
		{name: "good"},
		{name: "good RK3399", chip: rockchip.RK3399, loader: idbloader(t, "RK33", 64<<10, 64<<10, nil)},
		{name: "wrong chip", chip: rockchip.RK3399, want: `begins with "RK32"`},
		{name: "nothing", loader: make([]byte, 512), want: "the boot ROM finds no program"},
		{name: "scrambled", loader: idbloader(t, "RK32", 2048, 2048, func(h []byte) { h[8] = 0 }), want: "scrambled"},
		{name: "too large for the SRAM", loader: idbloader(t, "RK32", 32<<10, 2048, nil), want: "32768 bytes, the SRAM"},
		{name: "no length", loader: idbloader(t, "RK32", 2048, 2048, func(h []byte) { h[506], h[507] = 0, 0 }), want: "program of 0 bytes"},
		{name: "empty SPL", loader: append(idbloader(t, "RK32", 2048, 0, func(h []byte) { h[508] = 8 }), make([]byte, 2048)...), want: "SPL is empty"},
		{name: "no FIT", fit: []byte("nothing"), want: "no device tree (d00dfeed)"},
		{name: "broken U-Boot", fit: handmade.UBootFIT("uboot"), want: `image "uboot": crc32`},
		{name: "partition over the FIT", first: 8 * mib, want: "overlaps partition 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.chip.Name == "" {
				c.chip = rockchip.RK3328
			}
			if c.loader == nil {
				c.loader = idbloader(t, "RK32", 2048, 4096, nil)
			}
			if c.fit == nil {
				c.fit = handmade.UBootFIT("")
			}
			if c.first == 0 {
				c.first = 16 * mib
			}
			b := make([]byte, 20*mib)
			handmade.GPT(b, 128, handmade.Part{Start: c.first, Size: mib, Type: disk.TypeESP, Name: "esp"})
			copy(b[64*512:], c.loader)
			copy(b[16384*512:], c.fit)
			r, err := rockchip.Check(bytes.NewReader(b), int64(len(b)), c.chip)
			if err != nil {
				t.Fatal(err)
			}
			handmade.WantFault(t, r, c.want)
		})
	}
}

// A GPT of 256 entries ends at sector 66: the program at sector 64 destroys it.
func TestProgramOverALargeGPTIsFound(t *testing.T) {
	b := make([]byte, 20*mib)
	handmade.GPT(b, 256, handmade.Part{Start: 16 * mib, Size: mib, Type: disk.TypeESP})
	copy(b[64*512:], idbloader(t, "RK32", 2048, 4096, nil))
	if _, err := rockchip.Check(bytes.NewReader(b), int64(len(b)), rockchip.RK3328); err == nil {
		t.Error("the destroyed table was read")
	}
}
