package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

const (
	serverPort = 67
	clientPort = 68

	ipv4Size = 20 // of an IPv4 header without options, in bytes
	udpSize  = 8  // of a UDP header, in bytes
)

var errNotOurs = errors.New("not a DHCP packet for a client")

// wrap puts an IPv4 and a UDP header before payload, client to server port.
// Source: RFC 791 §3.1, RFC 768.
func wrap(from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, ipv4Size+udpSize, ipv4Size+udpSize+len(payload))
	b = append(b, payload...)
	b[0] = 4<<4 | ipv4Size/4
	b[1] = 0x10 // low delay, as other DHCP clients do
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8] = 64 // hops
	b[9] = 17 // UDP
	src, dst := from.As4(), to.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:ipv4Size]))

	udp := b[ipv4Size:]
	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	pseudo := uint32(17) + uint32(len(udp))
	c := ^sum(uint32(sum(pseudo, b[12:20])), udp)
	if c == 0 {
		c = 0xffff // 0 would mean: no checksum
	}
	binary.BigEndian.PutUint16(udp[6:], c)
	return b
}

// unwrap returns the payload of an IPv4 packet that is UDP from a server's port to a
// client's. The UDP checksum is not checked: on a virtual NIC the kernel hands out
// packets whose checksum the hardware would have filled in, and the client compares
// transaction id and hardware address anyway.
func unwrap(b []byte) ([]byte, error) {
	if len(b) < ipv4Size || b[0]>>4 != 4 {
		return nil, errNotOurs
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < ipv4Size || total < head+udpSize || total > len(b) {
		return nil, fmt.Errorf("IPv4 packet: header %d, total %d of %d bytes: %w", head, total, len(b), errNotOurs)
	}
	if b[9] != 17 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // other protocol, or a fragment
		return nil, errNotOurs
	}
	udp := b[head:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[0:]) != serverPort || binary.BigEndian.Uint16(udp[2:]) != clientPort ||
		size < udpSize || size > len(udp) {
		return nil, errNotOurs
	}
	return udp[udpSize:size], nil
}

// sum is the Internet checksum's sum (RFC 1071) of b, begun with start; not inverted.
func sum(start uint32, b []byte) uint16 {
	for len(b) >= 2 {
		start += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}
