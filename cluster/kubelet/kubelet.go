// Package kubelet runs upstream's kubelet without its command.
package kubelet

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-os/keelson/cluster/credentials"
	"github.com/keelson-os/keelson/cluster/flags"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/apis/config/validation"
)

// Options are what the kubelet needs to know of the node.
type Options struct {
	NodeName         string
	Agent            string // folder of the node's certificates and kubeconfigs
	Root             string // the kubelet's own folder
	PodLogs          string // folder of the pods' logs
	ContainerdSocket string
	ResolvConf       string // of the host
	ClusterDNS       netip.Addr
	ClusterDomain    string
	Labels           []string // key=value
	Taints           []string // key=value:Effect
	VolumePluginDir  string
	UserFlags        []string // kubelet-arg
}

// ReadyURL answers 200 once the kubelet works. The Node becomes Ready later, when the
// network does.
const ReadyURL = "http://127.0.0.1:10248/healthz"

func (o Options) flags() flags.List {
	l := flags.List{
		"hostname-override=" + o.NodeName,
		"kubeconfig=" + filepath.Join(o.Agent, credentials.KubeconfigKubelet),
		"root-dir=" + o.Root,
		"cert-dir=" + filepath.Join(o.Agent, "pki"),
		// No node-ip: the kubelet then looks up its own name each time (package address).
	}
	if len(o.Labels) > 0 {
		l = append(l, "node-labels="+strings.Join(o.Labels, ","))
	}
	if len(o.Taints) > 0 {
		l = append(l, "register-with-taints="+strings.Join(o.Taints, ","))
	}
	return l
}

// configure fills in what differs from upstream's defaults.
func (o Options) configure(c *kubeletconfig.KubeletConfiguration) {
	agent := func(name string) string { return filepath.Join(o.Agent, name) }
	c.ContainerRuntimeEndpoint = "unix://" + o.ContainerdSocket
	c.CgroupDriver = "cgroupfs"
	c.CgroupRoot = "/"
	c.ClusterDNS = []string{o.ClusterDNS.String()}
	c.ClusterDomain = o.ClusterDomain
	c.ResolverConfig = o.ResolvConf
	c.PodLogsDir = o.PodLogs
	c.VolumePluginDir = o.VolumePluginDir

	c.TLSCertFile = agent(credentials.ServingKubelet + ".crt")
	c.TLSPrivateKeyFile = agent(credentials.ServingKubelet + ".key")
	c.RotateCertificates = false // package credentials renews them
	c.Authentication.Anonymous.Enabled = false
	c.Authentication.Webhook.Enabled = true
	c.Authentication.X509.ClientCAFile = agent(credentials.ClientCA + ".crt")
	c.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	c.ReadOnlyPort = 0
	c.EnableProfilingHandler = false

	// There is no iptables to make chains with.
	c.MakeIPTablesUtilChains = false
	c.FailSwapOn = false
	c.ProtectKernelDefaults = false
	c.PodPidsLimit = 4096
	c.SerializeImagePulls = false
	c.MaxParallelImagePulls = ptr(int32(3))

	// Small disks: k3s's limits. Upstream's 15 % of free space is 5 GB on a 32 GB card.
	c.EvictionHard = map[string]string{
		"memory.available":  "50Mi",
		"nodefs.available":  "5%",
		"nodefs.inodesFree": "5%",
		"imagefs.available": "5%",
	}
	c.EvictionMinimumReclaim = map[string]string{"nodefs.available": "10%", "imagefs.available": "10%"}
	c.ContainerLogMaxSize = "5Mi"
	c.ContainerLogMaxFiles = 3

	// The node's lease is renewed after a quarter of its duration. 40 s instead of 10 s
	// saves three of four writes, the most of an idle node's: each is some 20 kB on the disk.
	// A dead node is noticed after 100 s (node-monitor-grace-period of the controller
	// manager) instead of 50 s; its pods are given up 300 s later in either case.
	c.NodeLeaseDurationSeconds = 160
	// Every node status holds the heartbeat times, so that it changes even when nothing
	// did. 15 min instead of 5 min saves most of these writes; real changes are sent at once.
	c.NodeStatusReportFrequency = metav1.Duration{Duration: 15 * time.Minute}
	// Walks every volume's files. 5 min instead of 1 min saves reads.
	c.VolumeStatsAggPeriod = metav1.Duration{Duration: 5 * time.Minute}
}

func ptr[T any](v T) *T { return &v }

// Run runs the kubelet until ctx ends or it fails.
func Run(ctx context.Context, o Options) error {
	// cAdvisor asks containerd directly; its flag lives in the standard flag set.
	if err := flag.Set("containerd", o.ContainerdSocket); err != nil {
		return fmt.Errorf("cAdvisor's containerd endpoint: %w", err)
	}
	kf := options.NewKubeletFlags()
	kc, err := options.NewKubeletConfiguration()
	if err != nil {
		return err
	}
	o.configure(kc)
	fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	kf.AddFlags(fs)
	options.AddKubeletConfigFlags(fs, kc)
	if err := fs.Parse(o.flags().Add(o.UserFlags).Args()); err != nil {
		return fmt.Errorf("kubelet-arg: %w", err)
	}
	if err := options.ValidateKubeletFlags(kf); err != nil {
		return fmt.Errorf("kubelet-arg: %w", err)
	}
	if err := validation.ValidateKubeletConfiguration(kc, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("kubelet-arg: %w", err)
	}
	s := &options.KubeletServer{KubeletFlags: *kf, KubeletConfiguration: *kc}
	deps, err := app.UnsecuredDependencies(ctx, s, utilfeature.DefaultFeatureGate)
	if err != nil {
		return err
	}
	return app.Run(ctx, s, deps, utilfeature.DefaultFeatureGate)
}
