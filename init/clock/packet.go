package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// packetSize is the size of an NTP header without extensions, in bytes.
const packetSize = 48

// Errors of a reply that is not to be used.
var (
	// ErrBadReply is a reply that breaks the protocol or answers another question;
	// waiting for a further packet is right.
	ErrBadReply = errors.New("bad NTP reply")
	// ErrUnsynced is a server that says that its own time is not to be trusted, or
	// that it does not want to be asked (kiss of death); ask another one.
	ErrUnsynced = errors.New("NTP server gives no time")
)

// maxDistance is the most root distance (half the root delay plus the dispersion)
// of a server to be believed. Source: RFC 5905, MAXDIST is 1 s; public pool servers
// on slow lines need a little more, and we only step on a first answer.
const maxDistance = 3 * time.Second

// sample is one measurement.
type sample struct {
	offset   time.Duration // what to add to our clock
	delay    time.Duration // of the whole round trip, without the server's own time
	distance time.Duration // root distance of the server
	stratum  int
}

// newRequest returns a client request (version 4) whose transmit timestamp is nonce.
// A random one, and not our time, tells nothing about us and cannot be guessed by
// who does not see the packet. Source: RFC 5905 §7.3; data minimisation draft.
func newRequest(nonce uint64) [packetSize]byte {
	var b [packetSize]byte
	b[0] = 4<<3 | 3 // no leap warning, version 4, mode client
	binary.BigEndian.PutUint64(b[40:], nonce)
	return b
}

// parseReply checks a server's reply to the request with nonce, sent at sent (our
// clock) and answered elapsed later, and measures our clock's error.
// Errors wrap ErrBadReply or ErrUnsynced. Source: RFC 5905 §7.3 and §8, RFC 4330 §5.
func parseReply(b []byte, nonce uint64, sent time.Time, elapsed time.Duration) (sample, error) {
	if len(b) < packetSize {
		return sample{}, fmt.Errorf("%w: got %d bytes, want %d or more", ErrBadReply, len(b), packetSize)
	}
	leap, version, mode, stratum := b[0]>>6, b[0]>>3&7, b[0]&7, int(b[1])
	if origin := binary.BigEndian.Uint64(b[24:]); origin != nonce {
		return sample{}, fmt.Errorf("%w: it answers another request", ErrBadReply)
	}
	if mode != 4 || version < 3 || version > 4 {
		return sample{}, fmt.Errorf("%w: got mode %d version %d, want mode 4 version 3 or 4", ErrBadReply, mode, version)
	}
	switch {
	case stratum == 0:
		return sample{}, fmt.Errorf("%w: kiss of death %q", ErrUnsynced, b[12:16])
	case stratum > 15:
		return sample{}, fmt.Errorf("%w: stratum %d", ErrUnsynced, stratum)
	case leap == 3:
		return sample{}, fmt.Errorf("%w: it says that it is not synchronised", ErrUnsynced)
	}
	distance := short(b[4:])/2 + short(b[8:])
	if distance > maxDistance {
		return sample{}, fmt.Errorf("%w: root distance %v, at most %v is believed", ErrUnsynced, distance, maxDistance)
	}
	rx, tx := binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint64(b[40:])
	if rx == 0 || tx == 0 {
		return sample{}, fmt.Errorf("%w: no time in it", ErrBadReply)
	}
	held := ntpTime(tx).Sub(ntpTime(rx))
	if held < 0 || held > elapsed {
		return sample{}, fmt.Errorf("%w: the server held it for %v of the %v it took", ErrBadReply, held, elapsed)
	}
	got := sent.Add(elapsed)
	// Halved first, so that the sum cannot overflow however far off our clock is.
	offset := ntpTime(rx).Sub(sent)/2 + ntpTime(tx).Sub(got)/2
	return sample{offset: offset, delay: elapsed - held, distance: distance, stratum: stratum}, nil
}

// short reads a 32-bit NTP short: seconds in 16.16 fixed point, big-endian.
func short(b []byte) time.Duration {
	return time.Duration(uint64(binary.BigEndian.Uint32(b)) * uint64(time.Second) >> 16)
}

// ntpTime converts a 64-bit NTP timestamp (seconds since 1900 in 32.32 fixed point).
// A first bit of 0 is the era from 2036 on, as RFC 4330 §3 says.
func ntpTime(v uint64) time.Time {
	const to1970 = 2208988800
	secs := int64(v>>32) - to1970
	if v>>63 == 0 {
		secs += 1 << 32
	}
	return time.Unix(secs, int64((v&0xffffffff)*uint64(time.Second)>>32))
}
