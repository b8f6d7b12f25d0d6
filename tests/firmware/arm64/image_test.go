package arm64_test

import (
	"errors"
	"testing"

	"github.com/keelson-os/keelson/tests/firmware/arm64"
	"github.com/keelson-os/keelson/tests/firmware/handmade"
)

func TestParse(t *testing.T) {
	good := handmade.Kernel(4096, 8192)
	h, err := arm64.Parse(good)
	if err != nil || h.ImageSize != 8192 || !h.Anywhere || h.PageSize != 4096 || h.TextOffset != 0 {
		t.Fatalf("Parse = %+v, %v", h, err)
	}
	for _, c := range []struct {
		name string
		file []byte
		not  bool // ErrNotImage
	}{
		{"empty", nil, true},
		{"no magic", make([]byte, 4096), true},
		{"smaller in memory than in the file", handmade.Kernel(4096, 4095), false},
		{"big endian", func() []byte { b := handmade.Kernel(4096, 8192); b[24] |= 1; return b }(), false},
		{"offset beyond the alignment", func() []byte { b := handmade.Kernel(4096, 8192); b[10] = 0x20; return b }(), false},
	} {
		if _, err := arm64.Parse(c.file); err == nil || errors.Is(err, arm64.ErrNotImage) != c.not {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(handmade.Kernel(128, 256))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := arm64.Parse(b); err == nil && h.ImageSize < uint64(len(b)) {
			t.Errorf("%+v of %d bytes", h, len(b))
		}
	})
}
