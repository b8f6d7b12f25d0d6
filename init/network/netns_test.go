package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/keelson-os/keelson/config"
)

// inNamespace is set in the environment of the copy of the test binary that TestMain
// starts in a network namespace of its own, so that no test touches the host's links.
const inNamespace = "KEELSON_TEST_NETNS"

func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	// The tests mostly wait, so all at once, whatever the number of CPUs.
	cmd := exec.Command("/proc/self/exe", append([]string{"-test.parallel=16"}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	err := cmd.Run()
	if cmd.ProcessState == nil { // not allowed: the tests that need it say so
		fmt.Fprintln(os.Stderr, "no network namespace:", err)
		os.Exit(m.Run())
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// needNamespace skips a test that needs a network namespace and has none; in CI, where
// the tests are run by root, that is a failure.
func needNamespace(t *testing.T) {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("run as root, with network namespaces in the kernel")
	}
	t.Skip("needs root and network namespaces")
}

// needKind skips a test whose kind of link the running kernel does not know.
func needKind(t *testing.T, link netlink.Link) {
	t.Helper()
	link.Attrs().Name = "probe"
	err := netlink.LinkAdd(link)
	if err == unix.EOPNOTSUPP {
		t.Skipf("the running kernel has no links of kind %s", link.Type())
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lan is a cable from the link near, in the tests' namespace, to the link far in a
// namespace of its own, where things can be run.
type lan struct {
	t    *testing.T
	near string
	ns   int         // file descriptor of far's namespace
	do   chan func() // run in far's namespace
}

// newLAN plugs a new link in. far gets the addresses.
func newLAN(t *testing.T, near string, addrs ...string) *lan {
	t.Helper()
	needNamespace(t)
	l := &lan{t: t, near: near, do: make(chan func())}
	ready := make(chan error)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends, as it is of no use to others
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			l.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		ready <- err
		for f := range l.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	l.plug(addrs...)
	t.Cleanup(func() {
		close(l.do)
		<-ended
		if link, err := netlink.LinkByName(near); err == nil {
			netlink.LinkDel(link)
		}
		unix.Close(l.ns)
	})
	return l
}

// plug makes the links.
func (l *lan) plug(addrs ...string) {
	l.t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: l.near}, PeerName: "far", PeerNamespace: netlink.NsFd(l.ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		l.t.Fatal(err)
	}
	l.far(func(link netlink.Link) error {
		for _, a := range addrs {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(link, addr); err != nil {
				return err
			}
		}
		return up(link)
	})
}

// up sets a link up and sends broadcasts to it: they need a route, which goes whenever
// the link is down.
func up(link netlink.Link) error {
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("255.255.255.255/32"))})
}

// in runs f in far's namespace.
func (l *lan) in(f func() error) {
	l.t.Helper()
	err := make(chan error)
	l.do <- func() { err <- f() }
	if err := <-err; err != nil {
		l.t.Fatal(err)
	}
}

// far runs f with the far link, in its namespace.
func (l *lan) far(f func(netlink.Link) error) {
	l.t.Helper()
	l.in(func() error {
		link, err := netlink.LinkByName("far")
		if err != nil {
			return err
		}
		return f(link)
	})
}

// carrier connects and disconnects the cable.
func (l *lan) carrier(connected bool) {
	l.t.Helper()
	l.far(func(link netlink.Link) error {
		if connected {
			return up(link)
		}
		return netlink.LinkSetDown(link)
	})
}

// server is a DHCP server on the far end of a lan. Its fields may be changed through set.
type server struct {
	conn *net.UDPConn
	done chan struct{}

	mu     sync.Mutex
	id     netip.Addr
	give   netip.Addr // the address it leases out
	time   time.Duration
	t1, t2 time.Duration
	mute   bool
	opts   []dhcpv4.Option
	seen   []seen
}

// seen is a message that the server got, and where it was sent to.
type seen struct {
	*dhcpv4.DHCPv4
	to   netip.Addr
	when time.Time
}

// serve starts a DHCP server on the lan, with a lease of that time.
func (l *lan) serve(id, give string, lease time.Duration, opts ...dhcpv4.Option) *server {
	l.t.Helper()
	s := &server{id: netip.MustParseAddr(id), give: netip.MustParseAddr(give), time: lease, opts: opts, done: make(chan struct{})}
	l.in(func() error {
		lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
			rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			})
			return err
		}}
		c, err := lc.ListenPacket(context.Background(), "udp4", ":67")
		if err == nil {
			s.conn = c.(*net.UDPConn)
		}
		return err
	})
	go s.run()
	l.t.Cleanup(func() { s.conn.Close(); <-s.done })
	return s
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) run() {
	defer close(s.done)
	buf, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, on, _, _, err := s.conn.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return
		}
		p, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			continue
		}
		var to netip.Addr
		if msgs, err := unix.ParseSocketControlMessage(oob[:on]); err == nil && len(msgs) > 0 {
			to = netip.AddrFrom4([4]byte(msgs[0].Data[8:12])) // struct in_pktinfo, ipi_addr
		}
		if r := s.reply(p, to); r != nil {
			dest := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68)
			if c := p.ClientIPAddr.To4(); !c.IsUnspecified() && r.MessageType() == dhcpv4.MessageTypeAck {
				dest = netip.AddrPortFrom(netip.AddrFrom4([4]byte(c)), 68)
			}
			s.conn.WriteToUDPAddrPort(r.ToBytes(), dest)
		}
	}
}

func (s *server) reply(p *dhcpv4.DHCPv4, to netip.Addr) *dhcpv4.DHCPv4 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, seen{p, to, time.Now()})
	if s.mute {
		return nil
	}
	r, err := dhcpv4.NewReplyFromRequest(p)
	if err != nil {
		return nil
	}
	r.UpdateOption(dhcpv4.OptServerIdentifier(s.id.AsSlice()))
	if p.MessageType() == dhcpv4.MessageTypeDiscover {
		r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
	} else {
		if id := p.ServerIdentifier(); id != nil && !id.Equal(s.id.AsSlice()) {
			return nil
		}
		want := p.RequestedIPAddress()
		if want == nil {
			want = p.ClientIPAddr
		}
		if !want.Equal(s.give.AsSlice()) {
			r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			return r
		}
		r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
	}
	r.YourIPAddr = s.give.AsSlice()
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(s.time))
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
	if s.t1 != 0 {
		r.UpdateOption(dhcpv4.OptRenewTimeValue(s.t1))
	}
	if s.t2 != 0 {
		r.UpdateOption(dhcpv4.OptRebindingTimeValue(s.t2))
	}
	for _, o := range s.opts {
		r.UpdateOption(o)
	}
	return r
}

// got returns the messages since the server's start that f accepts.
func (s *server) got(f func(seen) bool) (list []seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.seen {
		if f(x) {
			list = append(list, x)
		}
	}
	return list
}

// node is a running Manager.
type node struct {
	*Manager
	t      *testing.T
	resolv string
	stop   func()
}

// startNode starts a Manager that takes only the links whose name begins with prefix.
func startNode(t *testing.T, cfg config.Network, prefix string) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &node{t: t, resolv: filepath.Join(t.TempDir(), "resolv.conf")}
	begin := time.Now()
	var mu sync.Mutex
	ended := false
	log := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			t.Logf("%6.2f "+format, append([]any{time.Since(begin).Seconds()}, args...)...)
		}
	}
	m, err := start(ctx, cfg, log, n.resolv, func(l netlink.Link) bool { return strings.HasPrefix(l.Attrs().Name, prefix) })
	if err != nil {
		t.Fatal(err)
	}
	n.Manager = m
	n.stop = sync.OnceFunc(func() { cancel(); <-m.done; mu.Lock(); ended = true; mu.Unlock() })
	t.Cleanup(n.stop)
	return n
}

// wait waits for an address, for at most 10 s, and returns the summary.
func (n *node) wait() string {
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	return n.Wait(ctx)
}

// eventually fails unless f becomes true within d.
func eventually(t *testing.T, d time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v, still not: %s", d, what)
		}
	}
}

// always fails if f becomes false within d.
func always(t *testing.T, d time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !f() {
			t.Fatalf("no longer: %s", what)
		}
	}
}

// hasAddr says whether the link has the address (with its prefix's length).
func hasAddr(name, addr string) bool {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return false
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if a.IPNet.String() == addr {
			return true
		}
	}
	return false
}

// routesOf lists a link's routes of the main table as "destination gateway metric".
func routesOf(t *testing.T, name string, family int) (list []string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := netlink.RouteList(link, family)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		list = append(list, fmt.Sprintf("%v %v %d", r.Dst, r.Gw, r.Priority-100-link.Attrs().Index))
	}
	return list
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
