package clock

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// stamp is the inverse of ntpTime, for times from 1968 to 2104.
func stamp(t time.Time) uint64 {
	secs := uint64(t.Unix()+2208988800) & 0xffffffff
	return secs<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// answer is a good reply to a request with nonce, from a server whose clock shows rx when
// it came in and tx when it went out.
func answer(nonce uint64, rx, tx time.Time) []byte {
	b := make([]byte, packetSize)
	b[0], b[1] = 4<<3|4, 2
	binary.BigEndian.PutUint32(b[4:], 1<<16/100) // root delay 10 ms
	binary.BigEndian.PutUint32(b[8:], 1<<16/100)
	binary.BigEndian.PutUint64(b[24:], nonce)
	binary.BigEndian.PutUint64(b[32:], stamp(rx))
	binary.BigEndian.PutUint64(b[40:], stamp(tx))
	return b
}

func TestParseReplyMeasures(t *testing.T) {
	tests := []struct {
		name   string
		ours   time.Time
		offset time.Duration
	}{
		{"right", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), 0},
		{"ahead", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), -3 * time.Second},
		{"1970", time.Unix(5, 0), 56 * 365 * 24 * time.Hour},
		{"over the era's end", time.Date(2036, 2, 7, 6, 28, 10, 0, time.UTC), time.Minute},
		{"era 1", time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC), time.Millisecond},
	}
	for _, tt := range tests {
		// 30 ms there, 10 ms held, 30 ms back.
		rx := tt.ours.Add(30 * time.Millisecond).Add(tt.offset)
		s, err := parseReply(answer(7, rx, rx.Add(10*time.Millisecond)), 7, tt.ours, 70*time.Millisecond)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if (s.offset-tt.offset).Abs() > time.Microsecond || (s.delay-60*time.Millisecond).Abs() > time.Microsecond || s.stratum != 2 {
			t.Errorf("%s: got offset %v, delay %v, stratum %d, want %v, 60 ms, 2", tt.name, s.offset, s.delay, s.stratum, tt.offset)
		}
	}
}

func TestParseReplyRefuses(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		spoil func(b []byte) []byte
		want  error
	}{
		{"short", func(b []byte) []byte { return b[:47] }, ErrBadReply},
		{"other request", func(b []byte) []byte { b[31]++; return b }, ErrBadReply},
		{"mode client", func(b []byte) []byte { b[0] = 4<<3 | 3; return b }, ErrBadReply},
		{"version 1", func(b []byte) []byte { b[0] = 1<<3 | 4; return b }, ErrBadReply},
		{"kiss of death", func(b []byte) []byte { b[1] = 0; copy(b[12:], "RATE"); return b }, ErrUnsynced},
		{"stratum 16", func(b []byte) []byte { b[1] = 16; return b }, ErrUnsynced},
		{"leap alarm", func(b []byte) []byte { b[0] |= 0xc0; return b }, ErrUnsynced},
		{"root dispersion", func(b []byte) []byte { b[9] = 16; return b }, ErrUnsynced},
		{"no transmit time", func(b []byte) []byte { clear(b[40:48]); return b }, ErrBadReply},
		{"sent before received", func(b []byte) []byte { b[43]--; return b }, ErrBadReply},
		{"held for longer than it took", func(b []byte) []byte { b[43]++; return b }, ErrBadReply},
	}
	for _, tt := range tests {
		b := tt.spoil(answer(7, now, now))
		if _, err := parseReply(b, 7, now, 50*time.Millisecond); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	f.Add(answer(7, now, now))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseReply(b, 7, now, time.Second)
		if err == nil && (s.delay < 0 || s.delay > time.Second || s.distance < 0 || s.distance > maxDistance || s.stratum < 1 || s.stratum > 15) {
			t.Errorf("parseReply(%x) = %+v", b, s)
		}
	})
}

// serve answers on a port of the loopback with what f makes of each request.
func serve(t *testing.T, f func(nonce uint64) [][]byte) string {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if n != packetSize || buf[0] != 4<<3|3 {
				continue
			}
			for _, b := range f(binary.BigEndian.Uint64(buf[40:])) {
				c.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	return c.LocalAddr().String()
}

// Three servers say the time, one of them a wrong one after a forged packet; a fourth one
// says nothing: the majority wins.
func TestMeasureTakesTheMiddle(t *testing.T) {
	off := func(d time.Duration) func(uint64) [][]byte {
		return func(nonce uint64) [][]byte {
			now := time.Now().Add(d)
			return [][]byte{answer(nonce+1, now, now), answer(nonce, now, now)}
		}
	}
	servers := []string{
		serve(t, off(time.Hour)),
		serve(t, off(10*time.Second)),
		serve(t, off(10*time.Second)),
		serve(t, func(uint64) [][]byte { return [][]byte{[]byte("nonsense")} }),
	}
	s, err := measure(t.Context(), servers)
	if err != nil || (s.offset-10*time.Second).Abs() > time.Second {
		t.Errorf("measure = %+v, %v, want an offset of 10 s", s, err)
	}
	if _, err := measure(t.Context(), servers[3:]); !errors.Is(err, ErrBadReply) {
		t.Errorf("measure with nonsense = %v, want ErrBadReply", err)
	}
}

func TestSplitServer(t *testing.T) {
	tests := []struct {
		in, host string
		port     uint16
	}{
		{"pool.ntp.org", "pool.ntp.org", 123},
		{"ntp.lab:1123", "ntp.lab", 1123},
		{"::1", "::1", 123},
		{"[::1]:1123", "::1", 1123},
		{"10.0.0.1", "10.0.0.1", 123},
	}
	for _, tt := range tests {
		host, port, err := splitServer(tt.in)
		if err != nil || host != tt.host || port != tt.port {
			t.Errorf("splitServer(%q) = %q, %d, %v, want %q, %d", tt.in, host, port, err, tt.host, tt.port)
		}
	}
}
