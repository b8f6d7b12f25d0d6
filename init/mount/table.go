package mount

import "golang.org/x/sys/unix"

const hidden = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// efiVars is the EFI variables, read-only: a full NVRAM bricks machines.
var efiVars = Mount{"efivarfs", "/sys/firmware/efi/efivars", "efivarfs", hidden | unix.MS_RDONLY, "", 0, true}

// Early are the mounts of the initramfs stage. They move to the new root.
func Early() []Mount {
	return []Mount{
		{"proc", "/proc", "proc", hidden, "", 0o555, false},
		{"sysfs", "/sys", "sysfs", hidden, "", 0o555, false},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755", 0o755, false},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", 0o755, false},
	}
}

// EFIVars is mounted once the module efivarfs is loaded, on machines with UEFI.
func EFIVars() []Mount { return []Mount{efiVars} }

// System are the mounts of PID 1 proper; the early ones are among them for a kernel that
// was started without an initramfs stage.
//
// cgroup2 gets nsdelegate and memory_recursiveprot, as systemd mounts it: runtimes and the
// kubelet's memory protection expect them.
func System() []Mount {
	return append(Early(), []Mount{
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666", 0o755, false},
		{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", 0o755, false},
		{"mqueue", "/dev/mqueue", "mqueue", hidden, "", 0o755, true},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=25%", 0, false},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", hidden, "nsdelegate,memory_recursiveprot", 0, false},
		{"securityfs", "/sys/kernel/security", "securityfs", hidden, "", 0, true},
		{"pstore", "/sys/fs/pstore", "pstore", hidden, "", 0, true},
		{"bpf", "/sys/fs/bpf", "bpf", hidden, "mode=0700", 0, true},
		{"tracefs", "/sys/kernel/tracing", "tracefs", hidden, "", 0, true},
		efiVars,
	}...)
}
