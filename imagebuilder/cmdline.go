package imagebuilder

import (
	"fmt"
	"strings"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/verity"
)

// maxCmdline is the kernel's COMMAND_LINE_SIZE on x86 and arm64, less the final NUL.
const maxCmdline = 2047

// cmdline returns the kernel command line. The root hash in it is what makes the root
// trusted, so nothing the user adds may name another one.
func cmdline(b *boards.Board, t verity.Tree, kargs []string) (string, error) {
	args := []string{
		fmt.Sprintf("roothash=%x", t.RootHash),
		fmt.Sprintf("keelson.verity=%d:%d:%x", t.DataBlocks, t.HashOffset, t.Salt),
	}
	for _, c := range b.Consoles {
		args = append(args, "console="+c)
	}
	args = append(args, "panic=10", "quiet", "loglevel=4")
	args = append(args, b.Cmdline...)
	args = append(args, kargs...)
	line := strings.Join(args, " ")
	if len(line) > maxCmdline {
		return "", fmt.Errorf("kernel command line has %d bytes, at most %d are possible: give less with --karg", len(line), maxCmdline)
	}
	return line, nil
}

// checkKargs refuses additions that are not one argument each or that would undo the
// root's verification.
func checkKargs(kargs []string) error {
	for _, k := range kargs {
		key, _, _ := strings.Cut(k, "=")
		switch {
		case k == "":
			return fmt.Errorf("--karg: is empty")
		case strings.ContainsAny(k, "\x00\n\r\t"):
			return fmt.Errorf("--karg %q: has a control character", k)
		case strings.Contains(k, " ") && strings.Count(k, `"`) != 2:
			return fmt.Errorf("--karg %q: has a space; give one argument per --karg, or put the value in double quotes", k)
		case key == "roothash" || key == "keelson.verity":
			return fmt.Errorf("--karg %q: %s says which root is trusted and is set by the build", k, key)
		}
	}
	return nil
}
