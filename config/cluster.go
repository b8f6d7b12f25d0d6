package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Ports on the node that neither the API server nor a NodePort can have, and whose they are.
var takenPorts = map[int]string{
	6440: "the machine API's", 10053: "cluster DNS's",
	10248: "the kubelet's health check's", 10249: "kube-proxy's metrics'", 10250: "the kubelet's", 10251: "the metrics server's",
	10256: "kube-proxy's health check's", 10257: "the controller manager's", 10259: "the scheduler's",
}

// fullToken is k3s's full token format.
var fullToken = regexp.MustCompile(`^K10[0-9a-f]{64}::(server|node|agent):([^\s:]+)$`)

// passwordRE is the password part of a token.
var passwordRE = regexp.MustCompile(`^[^\s:]+$`)

func defaultCluster() Cluster {
	return Cluster{
		ClusterCIDR:     netip.MustParsePrefix("10.42.0.0/16"),
		ServiceCIDR:     netip.MustParsePrefix("10.43.0.0/16"),
		ClusterDNS:      netip.MustParseAddr("10.43.0.10"),
		ClusterDomain:   "cluster.local",
		HTTPSListenPort: 6443,
		FlannelBackend:  "vxlan",
		KubeconfigMode:  0o600,

		NodePorts:        PortRange{30000, 32767},
		LocalStoragePath: DefaultLocalStorage,
	}
}

// cluster reads k3s's keys.
func (d *decoder) cluster(p string, n *yaml.Node, c *Cluster) {
	lists := map[string]func(p string, v *yaml.Node){}
	texts := func(key, what string, into *[]string, split bool, ok func(d *decoder, p string, v *yaml.Node, s string) bool) {
		one := func(p string, v *yaml.Node) {
			s, got := d.text(p, v, what)
			if !got {
				return
			}
			parts := []string{s}
			if split { // as k3s does for these keys
				parts = strings.Split(s, ",")
			}
			for _, part := range parts {
				part = strings.TrimSpace(part)
				if ok(d, p, v, part) {
					*into = append(*into, part)
				}
			}
		}
		lists[key] = func(p string, v *yaml.Node) {
			if v.Kind == yaml.ScalarNode && !isNull(v) { // k3s takes a single value for a list
				one(p, v)
				return
			}
			d.sequence(p, v, what, one)
		}
	}
	texts("node-label", "a label such as disk=ssd", &c.NodeLabels, false, checkLabel)
	texts("node-taint", "a taint such as dedicated=gpu:NoSchedule", &c.NodeTaints, false, checkTaint)
	texts("tls-san", "a host name or an IP address", &c.TLSSANs, true, checkSAN)
	texts("disable", "the name of a packaged component such as traefik", &c.Disable, true, checkDisable)
	for key, into := range map[string]*[]string{
		"kubelet-arg": &c.KubeletArgs, "kube-apiserver-arg": &c.APIServerArgs,
		"kube-controller-manager-arg": &c.ControllerMgrArgs, "kube-scheduler-arg": &c.SchedulerArgs, "kube-proxy-arg": &c.ProxyArgs,
	} {
		texts(key, "a flag such as v=2", into, false, checkFlag)
	}

	known := fields{
		"server": func(p string, v *yaml.Node) {
			c.Server, _ = d.textWhere(p, v, "the URL of a server such as https://10.0.0.10:6443", func(s string) bool {
				u, err := url.Parse(s)
				return err == nil && u.Scheme == "https" && isHost(u.Hostname()) && (u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.User == nil
			})
		},
		"token": func(p string, v *yaml.Node) { d.token(p, v, &c.Token) },
		"node-name": func(p string, v *yaml.Node) {
			c.NodeName, _ = d.textWhere(p, v, "a lower-case DNS name such as kitchen-pi", isSubdomain)
		},
		"cluster-cidr": func(p string, v *yaml.Node) { d.cidr(p, v, 8, 24, &c.ClusterCIDR) },
		"service-cidr": func(p string, v *yaml.Node) { d.cidr(p, v, 12, 27, &c.ServiceCIDR) },
		"cluster-dns": func(p string, v *yaml.Node) {
			if v = d.single(p, v); v == nil {
				return
			}
			if a, ok := d.addr(p, v); ok {
				if a.Is6() {
					d.fail(v, p, "found %s, expected an IPv4 address; this version supports IPv4 clusters only", d.found(v))
					return
				}
				c.ClusterDNS = a
			}
		},
		"cluster-domain": func(p string, v *yaml.Node) {
			if s, ok := d.textWhere(p, v, "a domain such as cluster.local", isSubdomain); ok {
				c.ClusterDomain = s
			}
		},
		"https-listen-port": func(p string, v *yaml.Node) {
			port := c.HTTPSListenPort
			d.integer(p, v, 1, 65535, &port)
			if takenPorts[port] != "" {
				d.fail(v, p, "found %d, which is %s port; choose another", port, takenPorts[port])
				return
			}
			c.HTTPSListenPort = port
		},
		"flannel-iface": func(p string, v *yaml.Node) {
			c.FlannelIface, _ = d.textWhere(p, v, "a link name such as eth0", isLink)
		},
		"flannel-backend": func(p string, v *yaml.Node) {
			switch v.Value {
			case "wireguard-native", "wireguard", "ipsec", "tailscale":
				d.fail(v, p, "found %s, which this version of Keelson does not support; expected vxlan, host-gw or none", d.found(v))
				return
			}
			if s, ok := d.oneOf(p, v, "vxlan", "host-gw", "none"); ok {
				c.FlannelBackend = s
			}
		},
		"disable-helm-controller": func(p string, v *yaml.Node) {
			var off bool
			if d.boolean(p, v, &off); off {
				c.Disable = append(c.Disable, "helm-controller")
			}
		},
		"write-kubeconfig-mode": func(p string, v *yaml.Node) {
			const expected = "an octal file mode such as 0600 or 0644"
			s, ok := d.text(p, v, expected)
			if !ok {
				return
			}
			m, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
			if err != nil || m > 0o777 || m&0o400 == 0 {
				d.fail(v, p, "found %s, expected %s", d.found(v), expected)
				return
			}
			c.KubeconfigMode = uint32(m)
		},
	}
	d.addressKeys(known, c)
	d.fileKeys(known, c)
	known["disable-default-registry-endpoint"] = func(p string, v *yaml.Node) { d.boolean(p, v, &c.NoDefaultEndpoint) }
	var appends []func() // done last, so that "key+" follows the key it appends to
	for key, read := range lists {
		known[key] = read
		known[key+"+"] = func(p string, v *yaml.Node) { appends = append(appends, func() { read(p, v) }) }
	}
	d.mapping(p, n, known, func(p string, k, v *yaml.Node) bool {
		base, plus := strings.CutSuffix(k.Value, "+")
		switch {
		case plus && known[base] != nil:
			d.fail(k, p, "only a list can be appended to with \"+\", and %s has one value: write %s", base, base)
		case isOtherK3sKey(base):
			d.refuse(p, base, k, v)
		case k3sAliases[base] != "":
			d.fail(k, p, "unknown key; write the long form %q of k3s's flag", k3sAliases[base])
		default:
			words := slices.Collect(maps.Keys(known))
			words = slices.DeleteFunc(words, func(s string) bool { return strings.HasSuffix(s, "+") })
			if near := nearest(base, append(slices.Clone(words), slices.Collect(maps.Keys(refusals))...)); near != "" && isOtherK3sKey(near) {
				d.fail(k, p, "unknown key; k3s has a key %q, but this version of Keelson does not support it: %s", near, refusals[near])
				return true
			}
			d.unknownKey(k, p, words)
		}
		return true
	})
	for _, f := range appends {
		f()
	}
	slices.Sort(c.Disable)
	c.Disable = slices.Compact(c.Disable)
	if d.has(p+".service-cidr") && !d.has(p+".cluster-dns") {
		c.ClusterDNS = nth(c.ServiceCIDR, 10) // k3s's rule
	}
}

// nth returns the address n places after the start of an IPv4 network.
func nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// single unwraps a list of one, as k3s allows for CIDRs; nil after a recorded mistake.
func (d *decoder) single(p string, v *yaml.Node) *yaml.Node {
	if v.Kind == yaml.SequenceNode {
		if len(v.Content) == 1 && v.Content[0].Kind == yaml.ScalarNode {
			return v.Content[0]
		}
		d.fail(v, p, "found a list of %d, expected one value; this version supports IPv4 clusters only, not dual-stack", len(v.Content))
		return nil
	}
	if v.Kind == yaml.ScalarNode && strings.Contains(v.Value, ",") {
		d.fail(v, p, "found %s, expected one value; this version supports IPv4 clusters only, not dual-stack", d.found(v))
		return nil
	}
	return v
}

// cidr reads an IPv4 network whose length is within [low, high].
func (d *decoder) cidr(p string, v *yaml.Node, low, high int, into *netip.Prefix) {
	if v = d.single(p, v); v == nil {
		return
	}
	x, ok := d.prefix(p, v, false)
	switch {
	case !ok:
	case x.Addr().Is6():
		d.fail(v, p, "found %s, expected an IPv4 network; this version supports IPv4 clusters only", d.found(v))
	case x.Bits() < low || x.Bits() > high:
		d.fail(v, p, "found a /%d network, expected a length from /%d to /%d", x.Bits(), low, high)
	case x.Addr().IsLoopback() || x.Addr().IsMulticast() || x.Addr().IsLinkLocalUnicast():
		d.fail(v, p, "found %s, expected a private network such as 10.42.0.0/16", d.found(v))
	default:
		*into = x
	}
}

// token reads a token without ever showing it.
func (d *decoder) token(p string, v *yaml.Node, into *string) {
	const expected = "a token: K10<hash>::server:<password>, or the password alone, without spaces or colons"
	hide := &decoder{file: d.file, secret: true}
	*into, _ = hide.textWhere(p, v, expected, func(s string) bool {
		return fullToken.MatchString(s) || (passwordRE.MatchString(s) && !strings.HasPrefix(s, "K10"))
	})
	d.errs = append(d.errs, hide.errs...)
}

func checkLabel(d *decoder, p string, v *yaml.Node, s string) bool {
	key, value, _ := strings.Cut(s, "=")
	switch {
	case !isQualified(key):
		d.fail(v, p, "found %s, expected a label such as disk=ssd or example.com/rack=3", quote(s))
	case !isLabelValue(value):
		d.fail(v, p, "found %s, whose value has characters a label cannot have; expected at most 63 letters, digits, \"-\", \"_\" or \".\"", quote(s))
	case !kubeletLabel(key):
		d.fail(v, p, "found %s, a label that Kubernetes does not let a node give itself; set it with kubectl label node, or use a prefix of your own", quote(s))
	default:
		return true
	}
	return false
}

func checkTaint(d *decoder, p string, v *yaml.Node, s string) bool {
	const expected = "a taint such as dedicated=gpu:NoSchedule"
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		d.fail(v, p, "found %s, expected %s; the effect after the colon is missing", quote(s), expected)
		return false
	}
	key, value, _ := strings.Cut(s[:i], "=")
	effects := []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}
	switch effect := s[i+1:]; {
	case !slices.Contains(effects, effect):
		hint := ""
		if near := nearest(effect, effects); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		d.fail(v, p, "found the effect %s, expected one of %s%s", quote(effect), strings.Join(effects, ", "), hint)
	case !isQualified(key) || !isLabelValue(value):
		d.fail(v, p, "found %s, expected %s", quote(s), expected)
	default:
		return true
	}
	return false
}

func checkSAN(d *decoder, p string, v *yaml.Node, s string) bool {
	if isHost(strings.TrimPrefix(s, "*.")) {
		return true
	}
	hint := ""
	if strings.Contains(s, "://") || isHostPort(s) {
		hint = "; leave scheme and port out"
	}
	d.fail(v, p, "found %s, expected a host name or an IP address%s", quote(s), hint)
	return false
}

func checkFlag(d *decoder, p string, v *yaml.Node, s string) bool {
	if flagRE.MatchString(s) {
		return true
	}
	hint := ""
	if t := strings.TrimLeft(s, "-"); t != s && flagRE.MatchString(t) {
		hint = fmt.Sprintf("; leave the dashes out: %s", t)
	} else if name, value, ok := strings.Cut(s, ":"); ok && flagRE.MatchString(name) {
		hint = fmt.Sprintf("; did you mean \"%s=%s\"?", name, strings.TrimSpace(value))
	}
	d.fail(v, p, "found %s, expected name=value or name%s", quote(s), hint)
	return false
}

// checkCIDRs finds networks that overlap, and a DNS address outside the services'.
func (d *decoder) checkCIDRs(cfg *Config) {
	c := cfg.Cluster
	where := func(keys ...string) string {
		for _, k := range keys {
			if d.has(k) {
				return k
			}
		}
		return "cluster"
	}
	if c.ClusterCIDR.Overlaps(c.ServiceCIDR) {
		d.failAt(where("cluster.service-cidr", "cluster.cluster-cidr"), "the service network %s overlaps the pod network %s (cluster-cidr); choose two that do not", c.ServiceCIDR, c.ClusterCIDR)
	}
	switch {
	case !c.ServiceCIDR.Contains(c.ClusterDNS):
		d.failAt(where("cluster.cluster-dns", "cluster.service-cidr"), "the DNS address %s is not in the service network %s; use %s", c.ClusterDNS, c.ServiceCIDR, nth(c.ServiceCIDR, 10))
	case c.ClusterDNS == nth(c.ServiceCIDR, 0) || c.ClusterDNS == nth(c.ServiceCIDR, 1) || !c.ServiceCIDR.Contains(c.ClusterDNS.Next()):
		d.failAt(where("cluster.cluster-dns"), "found %s; the first, second and last address of the service network are taken (the second is the API's): use %s", c.ClusterDNS, nth(c.ServiceCIDR, 10))
	}
	for k, i := range cfg.Network.Interfaces {
		for n, a := range i.Addresses {
			p := fmt.Sprintf("network.interfaces[%d].addresses[%d]", k, n)
			if a.Overlaps(c.ClusterCIDR) {
				d.failAt(p, "%s overlaps the pod network %s (cluster-cidr); change one of them", a, c.ClusterCIDR)
			}
			if a.Overlaps(c.ServiceCIDR) {
				d.failAt(p, "%s overlaps the service network %s (service-cidr); change one of them", a, c.ServiceCIDR)
			}
		}
	}
}
