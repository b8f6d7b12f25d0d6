// Package address knows the node's addresses and follows them.
//
// It owns the link keelson0, which gives a node an address before, and without, any
// network, and it writes /etc/hosts, where the kubelet looks up its own name: the kubelet
// asks on every update of its status, every 10 s, so that the Node object follows the
// address without a restart.
package address

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Watcher follows the node's addresses. Setup must have returned before the other
// methods are used; those may then be called concurrently.
type Watcher struct {
	o Options

	mu          sync.Mutex
	current     Addresses
	subscribers []chan Addresses
}

// Options say what to follow and where to write it.
type Options struct {
	HostsFile string     // in which the node's names get its primary address
	Names     []string   // of the node
	Interface string     // the link that the user wants as the main one; empty: the default route's
	NodeIP    netip.Addr // the address that the user wants; zero: any of that link
	// Services is the network of ClusterIPs. It gets a route to keelson0.
	Services netip.Prefix
	Log      *slog.Logger
}

// New returns a Watcher that has not looked yet.
func New(o Options) *Watcher { return &Watcher{o: o} }

// Setup makes keelson0, finds the addresses and writes the hosts file.
func (w *Watcher) Setup(context.Context) error {
	l, err := ensureLink()
	if err != nil {
		return err
	}
	if err := ensureRoute(l, w.o.Services); err != nil {
		return err
	}
	return w.update()
}

// Current returns the node's addresses now.
func (w *Watcher) Current() Addresses {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Subscribe returns a channel that holds the newest addresses that the receiver has not
// seen yet; the current ones at first.
func (w *Watcher) Subscribe() <-chan Addresses {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan Addresses, 1)
	if w.current.Primary.IsValid() { // else Setup sends them
		c <- w.current
	}
	w.subscribers = append(w.subscribers, c)
	return c
}

// settle is how long addresses must be left alone before a change counts: a lease that is
// renewed removes and adds, and one change restarts the overlay network.
const settle = 500 * time.Millisecond

// Run follows the addresses until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	for {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// The kernel drops a subscriber that is too slow (ENOBUFS): subscribe again, and look.
		w.o.Log.Warn("subscribe to address changes again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

func (w *Watcher) follow(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	failed := make(chan error, 3)
	report := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("subscribe to addresses: %w", err)
	}
	routes := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("subscribe to routes: %w", err)
	}
	// A pulled cable changes no address and no route.
	changed := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(changed, done, netlink.LinkSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	timer := time.NewTimer(settle) // look once: something may have changed before the subscription
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case _, ok := <-addrs:
			if !ok {
				return errors.New("subscription to addresses ended")
			}
			timer.Reset(settle)
		case _, ok := <-routes:
			if !ok {
				return errors.New("subscription to routes ended")
			}
			timer.Reset(settle)
		case c, ok := <-changed:
			if !ok {
				return errors.New("subscription to links ended")
			}
			if !internal(c.Attrs().Name) { // pods come and go
				timer.Reset(settle)
			}
		case <-timer.C:
			if err := w.update(); err != nil {
				return err
			}
		}
	}
}

// update looks at the links, and tells the hosts file and the subscribers what changed.
func (w *Watcher) update() error {
	links, routes, err := look()
	if err != nil {
		return err
	}
	now := choose(links, routes, w.o.Interface, w.o.NodeIP)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Equal(w.current) {
		return nil
	}
	if err := writeHosts(w.o.HostsFile, hosts(now.Primary, w.o.Names)); err != nil {
		return err
	}
	if w.o.NodeIP.IsValid() && now.Primary != w.o.NodeIP {
		w.o.Log.Warn("node-ip: no link of this node has this address; other nodes and the network of pods do not reach the node until one does", "node-ip", w.o.NodeIP, "addresses", now.All)
	}
	w.o.Log.Info("node address", "primary", now.Primary, "link", now.Link, "all", now.All)
	w.current = now
	for _, c := range w.subscribers {
		select {
		case <-c: // replace what was not received yet
		default:
		}
		c <- now
	}
	return nil
}

// ensureLink makes keelson0 with the stable address. A link of that name that exists
// already is taken as it is, whatever its kind.
func ensureLink() (netlink.Link, error) {
	l, err := netlink.LinkByName(LinkName)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: LinkName}}); err != nil {
			return nil, fmt.Errorf("add dummy link %s: %w", LinkName, err)
		}
		l, err = netlink.LinkByName(LinkName)
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", LinkName, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: Stable.AsSlice(), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrReplace(l, addr); err != nil {
		return nil, fmt.Errorf("add address %s to link %s: %w", Stable, LinkName, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return nil, fmt.Errorf("set link %s up: %w", LinkName, err)
	}
	return l, nil
}

// ensureRoute sends what this host's processes address to ClusterIPs to keelson0. kube-proxy
// gives such a packet its real destination before it leaves, but the kernel wants a route
// first, and a machine without a cable has none.
func ensureRoute(l netlink.Link, services netip.Prefix) error {
	r := &netlink.Route{
		LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: services.Masked().Addr().AsSlice(), Mask: net.CIDRMask(services.Bits(), 32)},
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("add route to services %s on link %s: %w", services, LinkName, err)
	}
	return nil
}

// look reads links, addresses and IPv4 default routes from the kernel.
func look() ([]link, []route, error) {
	found, err := netlink.LinkList()
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	var links []link
	for _, f := range found {
		a := f.Attrs()
		l := link{name: a.Name, index: a.Index, up: a.Flags&net.FlagUp != 0, carrier: a.RawFlags&unix.IFF_LOWER_UP != 0}
		addrs, err := netlink.AddrList(f, netlink.FAMILY_ALL)
		if err != nil {
			if errors.Is(err, unix.ENODEV) { // gone meanwhile
				continue
			}
			return nil, nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			if addr.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED|unix.IFA_F_TEMPORARY) != 0 && addr.IP.To4() == nil {
				continue
			}
			if ip, ok := netip.AddrFromSlice(addr.IP); ok {
				l.addrs = append(l.addrs, ip.Unmap())
			}
		}
		links = append(links, l)
	}
	list, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []route
	for _, r := range list {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		out := route{link: r.LinkIndex, metric: r.Priority}
		if ip, ok := netip.AddrFromSlice(r.Src); ok {
			out.source = ip.Unmap()
		}
		if out.link == 0 && len(r.MultiPath) > 0 {
			out.link = r.MultiPath[0].LinkIndex
		}
		routes = append(routes, out)
	}
	return links, routes, nil
}

func writeHosts(path, text string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
