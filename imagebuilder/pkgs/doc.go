// Package pkgs resolves, fetches and unpacks the Debian packages an image is made of, as an
// ordinary user: apt does the work, with a state directory, a configuration and an
// architecture of our own, and checks signatures with the host's debian-archive-keyring.
//
// # The lock
//
// Which versions are used is written in a lock file, one line per package, that belongs to
// the board and is committed. With a lock:
//
//   - exactly the locked versions are used, and every .deb must have the locked SHA-256;
//   - when the cache has them all, no server is asked anything;
//   - a version that the mirror no longer has is a *GoneError, which says what the mirror
//     has instead. Nothing is ever replaced silently: Options.UpdateLock resolves anew for
//     everybody, and Options.AllowMoved for this cache, telling what moved.
//
// The lock's format (see parseLock): "#" starts a comment; "suite NAME" and "epoch SECONDS" once;
// then lines of eight fields, in the order of their names:
//
//	GROUP NAME VERSION ARCH SIZE SHA256 SOURCE SOURCE-VERSION
//
// GROUP is "root" (programs and their libraries, with dependencies), "data" (kernel, boot loader,
// firmware, certificates: without dependencies) or "tools-ARCH" (programs that the build itself
// runs on a host of that architecture, with dependencies). The epoch is the date of the newest
// package index that took part; images use it as the time of all their files.
//
// # The cache
//
// debs/SHA256.deb holds packages, unpacked/SHA256/ their trees, tools/ID/ the programs that
// the build runs, kernels/ID/ the folder of modules of a kernel that several packages make up, apt/KEY/ apt's own state,
// moved/ID.lock the lock that replaces the lock whose SHA-256 is ID (Options.AllowMoved). Everything is written under another name and renamed
// when it is whole. Whoever writes holds a lock (flock) on the file "lock"; reading needs none.
package pkgs
