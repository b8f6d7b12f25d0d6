// Package module loads kernel modules: by name, by alias, by what the machine's devices
// ask for (coldplug at boot, hotplug later), and as /sbin/modprobe, which the kernel
// itself calls.
//
// It reads the text files that depmod writes beside the modules:
//
//	modules.dep      PATH: PATH…           a module and what it needs, all below the folder
//	modules.alias    alias PATTERN NAME    device and protocol aliases, shell patterns
//	modules.softdep  softdep NAME pre: … post: …
//	modules.builtin  PATH                  what is in the kernel and needs no loading
//
// "-" and "_" are the same in names. Modules are loaded as the packages ship them: the
// kernel unpacks .xz, .gz and .zst itself.
package module
