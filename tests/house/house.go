package house

// Module is the path of the main module.
const Module = "github.com/keelson-os/keelson"

// A Ban says that no package under From may depend, directly or not, on a package under any of On.
// Paths inside the module are relative to it; others are import paths.
type Ban struct {
	From   string
	On     []string
	Reason string
}

var kubernetes = []string{"k8s.io", "github.com/containerd/containerd", "github.com/flannel-io/flannel", "github.com/k3s-io/kine"}

// Bans are the arrows that must not exist; see docs/architecture.md, "The house".
var Bans = []Ban{
	{"init", kubernetes, "PID 1 must stay small: Kubernetes costs 90 MB of memory at start"},
	{"cmd/init", kubernetes, "PID 1 must stay small: Kubernetes costs 90 MB of memory at start"},
	{"cmd/keelson", kubernetes, "the CLI must link in seconds and run on a laptop without Kubernetes"},
	{"config", kubernetes, "the parser is shared by the laptop, PID 1 and the node"},
	{"imagebuilder", kubernetes, "the builder only packs what others compiled"},
	{"tests", kubernetes, "scenarios use the ports a user has, not Kubernetes' libraries"},
	{"cluster/pki", kubernetes, "the CLI makes certificates before any node exists"},
	{"cluster/token", kubernetes, "the CLI makes tokens before any node exists"},
	{"cluster/generate", kubernetes, "the CLI makes a cluster's files before any node exists"},
	{"init", []string{"cluster", "imagebuilder", "boards"}, "PID 1 and the node talk over a socket, not by import"},
	{"cmd/init", []string{"cluster", "imagebuilder", "boards"}, "PID 1 and the node talk over a socket, not by import"},
	{"cmd/machined", kubernetes, "the machine API works without Kubernetes, and must stay small"},
	{"cmd/machined", []string{"cluster", "imagebuilder", "boards"}, "the machine API starts before Kubernetes and works without it"},
	{"cmd/init", []string{"init/api"}, "the machine API answers strangers: a process of its own, which PID 1 outlives"},
	{"cmd/init", []string{"net/http"}, "net/http would add 3 MB to PID 1 and a parser of the outside world"},
	{"cluster", []string{"init", "imagebuilder", "boards"}, "the node knows nothing of images, nor of PID 1's insides"},
	{"cmd/node", []string{"init", "imagebuilder", "boards"}, "the node knows nothing of images, nor of PID 1's insides"},
	{"cmd/node", []string{"upgrade"}, "the node process asks the machine API, which alone writes upgrades"},
	{"config", []string{"init", "cluster", "imagebuilder", "boards", "cmd"}, "arrows point down"},
	{"imagebuilder", []string{"init", "cmd", "machine", "upgrade/apply", "upgrade/record"}, "arrows point down; of upgrades the builder knows the bundle and the boot loaders' blocks"},
	{"upgrade", kubernetes, "PID 1, the machine API and the CLI carry it"},
	{"upgrade", []string{"imagebuilder", "cmd", "cluster", "boards", "machine", "config"}, "it works on a disk and a file, and knows nothing of who asks"},
	{"upgrade", []string{"init/api", "init/block", "init/boot", "init/control", "init/network", "init/provision", "init/state", "init/system"}, "of PID 1 only the partition tables (init/parttable) and init/durable are meant for others"},
	{"machine", kubernetes, "the schema of the machine API is shared by the laptop, the node and its server"},
	{"machine", []string{"init", "cluster", "imagebuilder", "boards", "cmd", "config", "upgrade"}, "the schema of the machine API needs the standard library alone"},
	{"machine", []string{"github.com", "golang.org", "go.yaml.in", "k8s.io"}, "the schema of the machine API needs the standard library alone"},
	{"flash", kubernetes, "a disk is written on any laptop"},
	{"flash", []string{"cluster", "imagebuilder", "cmd"}, "a disk is written on any laptop, also where no image can be built"},
	{"flash", []string{"init/block", "init/boot", "init/network", "init/provision", "init/state", "init/system"}, "of PID 1 only the partition tables (init/parttable) and the mounts (init/mountinfo) are meant for others"},
}
