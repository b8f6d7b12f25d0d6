package rootfs

import (
	"strings"

	"github.com/keelson-os/keelson/imagebuilder/tree"
)

// stability ranks a file by how seldom it changes from one version of Keelson to the next; those that change most
// seldom have the lowest rank, and their data comes first in the image. An upgrade fetches the blocks of 4 KiB that no
// slot has, and where the compressed size of one file changes, all that lies behind it moves by some bytes and is new.
func stability(e *tree.Entry) int {
	switch {
	case e.Mode.IsDir():
		return -1
	case e.Path == "usr/bin/node": // the largest, and changed by nearly every version
		return 6
	case e.Origin.Kind == tree.Program && (e.Path == "init" || e.Path == "usr/bin/machined"):
		return 5
	case e.Origin.Kind == tree.Program: // pinned versions of others' programs, but Go's moves them
		return 3
	case strings.HasPrefix(e.Path, ImagesDir+"/"):
		return 2
	case strings.HasPrefix(e.Path, "usr/lib/modules/"):
		return 1
	case e.Origin.Kind == tree.Debian:
		return 0
	}
	return 4 // texts of this repository, os-release among them, and what the user added
}
