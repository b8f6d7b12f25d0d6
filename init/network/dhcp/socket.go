package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// Conn sends and receives DHCP messages on one link.
type Conn interface {
	// Send broadcasts p or, if to is valid, sends it from from to the server to, as
	// ordinary UDP from an address that the link has.
	Send(p *dhcpv4.DHCPv4, from, to netip.Addr) error
	// Packets yields what arrives, well-formed but otherwise unchecked. It is closed
	// when nothing can be received any more, or by Close.
	Packets() <-chan *dhcpv4.DHCPv4
	Close() error
}

// OpenSocket opens a packet socket on the link with that index and name. It sees only
// packets to the DHCP client port: the kernel drops the rest, so it costs nothing on a
// busy link.
func OpenSocket(index int, name string) (Conn, error) {
	// Protocol 0: nothing is received before the filter is attached and bind names it.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("DHCP socket: %w", os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), "packet socket on "+name)
	s := &socket{file: f, index: index, name: name, packets: make(chan *dhcpv4.DHCPv4, 8), done: make(chan struct{})}
	prog := filter
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return nil, errors.Join(fmt.Errorf("DHCP socket: attach filter: %w", os.NewSyscallError("setsockopt", err)), f.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index}); err != nil {
		return nil, errors.Join(fmt.Errorf("DHCP socket: bind to link %s (%d): %w", name, index, os.NewSyscallError("bind", err)), f.Close())
	}
	go s.receive()
	return s, nil
}

// filter lets through unfragmented IPv4 UDP packets to port 68. A SOCK_DGRAM packet
// socket's data begin with the IP header.
var filter = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},                         // protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 17, Jt: 0, Jf: 6},         // UDP?
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},                         // flags and fragment offset
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4, Jf: 0},    // a later fragment?
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},                        // x = header length
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},                         // destination port
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jt: 0, Jf: 1}, // ours?
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

type socket struct {
	file    *os.File
	index   int
	name    string
	udp     *net.UDPConn // for renewals; opened at the first, as it needs the address
	packets chan *dhcpv4.DHCPv4
	done    chan struct{}
}

func (s *socket) Packets() <-chan *dhcpv4.DHCPv4 { return s.packets }

func (s *socket) Send(p *dhcpv4.DHCPv4, from, to netip.Addr) error {
	if to.IsValid() {
		return s.unicast(p, from, to)
	}
	if !from.IsValid() {
		from = netip.IPv4Unspecified()
	}
	b := wrap(from, netip.AddrFrom4([4]byte{255, 255, 255, 255}), p.ToBytes())
	rc, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("send DHCP on %s: %w", s.name, err)
	}
	sa := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: s.index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	var serr error
	err = rc.Write(func(fd uintptr) bool {
		serr = unix.Sendto(int(fd), b, 0, sa)
		return serr != unix.EAGAIN
	})
	if err = errors.Join(err, os.NewSyscallError("sendto", serr)); err != nil {
		return fmt.Errorf("broadcast DHCP on %s: %w", s.name, err)
	}
	return nil
}

// unicast sends through a UDP socket, so that the kernel resolves the server's hardware
// address and goes through a router if need be. The answer comes in on the packet
// socket; that this socket exists keeps the kernel from answering "port unreachable".
func (s *socket) unicast(p *dhcpv4.DHCPv4, from, to netip.Addr) error {
	if s.udp == nil {
		lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
			var serr error
			err := rc.Control(func(fd uintptr) {
				serr = errors.Join(
					unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, s.name),
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			})
			return errors.Join(err, serr)
		}}
		c, err := lc.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(from, clientPort).String())
		if err != nil {
			return fmt.Errorf("send DHCP on %s: %w", s.name, err)
		}
		s.udp = c.(*net.UDPConn)
	}
	_, err := s.udp.WriteToUDPAddrPort(p.ToBytes(), netip.AddrPortFrom(to, serverPort))
	return err
}

func (s *socket) receive() {
	defer close(s.packets)
	buf := make([]byte, 2048)
	for {
		n, err := s.file.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // reported once when the link goes down; it works again when it is up
		}
		if err != nil {
			return
		}
		payload, err := unwrap(buf[:n])
		if err != nil {
			continue
		}
		p, err := dhcpv4.FromBytes(payload)
		if err != nil {
			continue
		}
		select {
		case s.packets <- p:
		case <-s.done:
			return
		}
	}
}

func (s *socket) Close() error {
	close(s.done)
	err := s.file.Close()
	if s.udp != nil {
		err = errors.Join(err, s.udp.Close())
	}
	return err
}

// htons returns v in network byte order; the platforms we build for are little-endian.
func htons(v uint16) uint16 { return v<<8 | v>>8 }
