package rockchip

import "testing"

func FuzzHeader(f *testing.F) {
	f.Add(make([]byte, 512))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHeader(b); err == nil && (h.init <= 0 || h.boot < h.init || h.offset <= 0) {
			t.Errorf("%+v", h)
		}
	})
}
