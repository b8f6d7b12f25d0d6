package oci

// Names of the images that the builder makes.
const (
	PauseRef   = "keelson.dev/pause:1"
	BusyboxRef = "keelson.dev/busybox:1"
	// TraefikRef has the version that the module imagebuilder/traefik pins; the chart in
	// overlays/charts/traefik asks for it. A test there compares the three.
	TraefikRef = "keelson.dev/traefik:3.7.13"
)

// Pause returns the sandbox image: the static program pause, run as nobody.
func Pause(program []byte, arch string) Image {
	return Image{
		Ref:        PauseRef,
		Arch:       arch,
		Files:      []File{{Path: "pause", Mode: 0o755, Data: program}},
		Entrypoint: []string{"/pause"},
		User:       "65535:65535",
	}
}

// Traefik returns the image of the ingress controller: the static program and, as one PEM
// file where Go looks for it, the certificate authorities that ACME and HTTPS backends need.
// It can be run with a read-only root: its data go to volumes at /data and /tmp.
func Traefik(program, authorities []byte, arch string) Image {
	return Image{
		Ref:      TraefikRef,
		Arch:     arch,
		Compress: true,
		Files: []File{
			{Path: "traefik", Mode: 0o755, Data: program},
			{Path: "etc", Mode: 0o755, Dir: true},
			{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/false\ntraefik:x:65532:65532:traefik:/:/bin/false\n")},
			{Path: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\ntraefik:x:65532:\n")},
			{Path: "etc/ssl", Mode: 0o755, Dir: true},
			{Path: "etc/ssl/certs", Mode: 0o755, Dir: true},
			{Path: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Data: authorities},
			{Path: "data", Mode: 0o755, Dir: true},
			{Path: "tmp", Mode: 0o1777, Dir: true},
		},
		Entrypoint: []string{"/traefik"},
		User:       "65532:65532",
	}
}

// Busybox returns a small image for tests and for looking around in a cluster. program is
// a static busybox that has Applets.
func Busybox(program []byte, arch string) Image {
	img := Image{
		Ref:  BusyboxRef,
		Arch: arch,
		Cmd:  []string{"sh"},
		Env:  []string{"PATH=/bin"},
		Files: []File{
			{Path: "bin", Mode: 0o755, Dir: true},
			{Path: "bin/busybox", Mode: 0o755, Data: program},
			{Path: "etc", Mode: 0o755, Dir: true},
			{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
			{Path: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nnogroup:x:65534:\n")},
			{Path: "root", Mode: 0o700, Dir: true},
			{Path: "tmp", Mode: 0o1777, Dir: true},
			{Path: "usr", Mode: 0o755, Dir: true},
			{Path: "usr/bin", Mode: 0o777, Link: "../bin"},
			{Path: "var", Mode: 0o755, Dir: true},
			{Path: "var/www", Mode: 0o755, Dir: true},
		},
	}
	for _, applet := range Applets {
		img.Files = append(img.Files, File{Path: "bin/" + applet, Mode: 0o777, Link: "busybox"})
	}
	return img
}

// Applets are the commands of the busybox image. All of them are in Debian's busybox-static.
var Applets = []string{
	"arp", "ash", "awk", "base64", "basename", "cat", "chmod", "chown", "clear", "cmp", "cp", "cut", "date", "dd",
	"df", "diff", "dirname", "dmesg", "du", "echo", "egrep", "env", "expr", "false", "fgrep", "find", "free", "grep",
	"gunzip", "gzip", "head", "hexdump", "hostname", "httpd", "id", "ifconfig", "ip", "kill", "killall", "less", "ln",
	"ls", "md5sum", "mkdir", "mkfifo", "mknod", "mktemp", "more", "mount", "mv", "nc", "netstat", "nproc", "nslookup",
	"od", "pidof", "ping", "ping6", "printf", "ps", "pwd", "readlink", "realpath", "reset", "rm", "rmdir", "route",
	"sed", "seq", "sh", "sha1sum", "sha256sum", "shuf", "sleep", "sort", "stat", "stty", "sync", "sysctl", "tail",
	"tar", "tee", "telnet", "test", "time", "timeout", "top", "touch", "tr", "traceroute", "true", "truncate", "umount",
	"uname", "uniq", "unzip", "uptime", "usleep", "vi", "watch", "wc", "wget", "which", "whoami", "xargs", "yes", "zcat",
}
