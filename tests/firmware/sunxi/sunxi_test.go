package sunxi

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/disk"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
)

const mib = handmade.MiB

// egon is an SPL of length bytes with a right checksum; change comes before the checksum, spoil after it.
func egon(length int, change, spoil func(b []byte)) []byte {
	le := binary.LittleEndian
	b := bytes.Repeat([]byte{0x11}, length)
	clear(b[:0x60])
	le.PutUint32(b, 0xEA000016)
	copy(b[4:], "eGON.BT0")
	le.PutUint32(b[16:], uint32(length))
	copy(b[0x14:], "SPL\x02")
	le.PutUint32(b[0x20:], 0x60)
	copy(b[0x60:], "sun50i-a64-pine64-plus\x00")
	if change != nil {
		change(b)
	}
	le.PutUint32(b[12:], 0x5F0A6C39)
	var sum uint32
	for i := 0; i < len(b); i += 4 {
		sum += le.Uint32(b[i:])
	}
	le.PutUint32(b[12:], sum)
	if spoil != nil {
		spoil(b)
	}
	return b
}

func TestOneBrokenDetailIsOneFault(t *testing.T) {
	mbr := func(b []byte, first int64) {
		handmade.MBR(b, handmade.Part{Start: first, Size: 8 << 10, Type: "0x0c"})
	}
	for _, c := range []struct {
		name  string
		spl   []byte
		at    int // 0: 8 KiB
		fit   []byte
		board Board
		table func(b []byte)
		want  string
	}{
		{name: "good"},
		{name: "good at 128 KiB with a GPT", at: 128 << 10, table: func(b []byte) {
			handmade.GPT(b, 128, handmade.Part{Start: 16 * mib, Size: mib, Type: disk.TypeESP})
		}},
		{name: "nothing", spl: make([]byte, 512), want: "the boot ROM finds no program"},
		{name: "checksum", spl: egon(16<<10, nil, func(b []byte) { b[9000]++ }), want: "checksum"},
		{name: "no branch", spl: egon(16<<10, func(b []byte) { b[3] = 0x14 }, nil), want: "want a branch"},
		{name: "too long", spl: egon(40<<10, nil, nil), want: "length 40960"},
		{name: "not a multiple of 512", spl: egon(16<<10, func(b []byte) { b[16] = 4 }, nil), want: "length 16388"},
		{name: "another board's SPL", board: Pine64LTS, want: "SPL is for sun50i-a64-pine64-plus"},
		{name: "no FIT", fit: []byte("x"), want: "no device tree (d00dfeed)"},
		{name: "broken U-Boot", fit: handmade.UBootFIT("uboot"), want: `image "uboot": crc32`},
		{name: "partition over SPL", table: func(b []byte) { mbr(b, 16<<10) }, want: "SPL at bytes [8192, 24576) overlaps partition 1"},
		{name: "partition over U-Boot", table: func(b []byte) { mbr(b, 40<<10) }, want: "U-Boot's FIT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := make([]byte, 20*mib)
			at := low
			if c.at > 0 {
				at = c.at
			}
			if c.spl == nil {
				c.spl = egon(16<<10, nil, nil)
			}
			if c.fit == nil {
				c.fit = handmade.UBootFIT("")
			}
			if c.board.Name == "" {
				c.board = Pine64
			}
			if c.table == nil {
				c.table = func(b []byte) { mbr(b, 16*mib) }
			}
			copy(b[at:], c.spl)
			copy(b[at+32<<10:], c.fit)
			c.table(b)
			r, err := Check(bytes.NewReader(b), int64(len(b)), c.board)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Faults) > 1 && r.Loads == nil { // no program at one place, and so at none
				r.Faults = r.Faults[:1]
			}
			handmade.WantFault(t, r, c.want)
		})
	}
}

// A GPT of 128 entries ends at 17 KiB: SPL at 8 KiB destroys it.
func TestSPLOverAGPTIsFound(t *testing.T) {
	b := make([]byte, 20*mib)
	handmade.GPT(b, 128, handmade.Part{Start: 16 * mib, Size: mib, Type: disk.TypeESP})
	copy(b[low:], egon(16<<10, nil, nil))
	if _, err := Check(bytes.NewReader(b), int64(len(b)), Pine64); err == nil {
		t.Error("the destroyed table was read")
	}
}

func FuzzEGON(f *testing.F) {
	f.Add(egon(512, nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, tree, err := checkEGON(b, func(n int64) ([]byte, error) {
			if n > int64(len(b)) {
				return nil, io.ErrUnexpectedEOF
			}
			return b[:n], nil
		})
		if err == nil && (n > sram || int64(len(tree)) > n) {
			t.Errorf("length %d, tree %q", n, tree)
		}
	})
}
