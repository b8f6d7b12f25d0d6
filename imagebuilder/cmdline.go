package imagebuilder

import (
	"fmt"
	"strings"

	"github.com/keelson-os/keelson/boards"
	"github.com/keelson-os/keelson/imagebuilder/verity"
)

// maxCmdline is the kernel's COMMAND_LINE_SIZE on x86 and arm64, less the final NUL.
const maxCmdline = 2047

// Parameters that tell the node what it runs, and whom it takes the next version from. The command line is as trusted as the
// root hash in it: both are in the boot files of a slot, which come from a signed bundle.
const (
	boardParam      = "keelson.board"
	versionParam    = "keelson.version"
	serialParam     = "keelson.serial"     // SERIAL:MINIMUM, decimal
	kubernetesParam = "keelson.kubernetes" // "v1.37.2"; not there where the node's program does not say
	keysParam       = "keelson.keys"       // minisign public keys, base64, comma separated; not there: no key is trusted
)

// reserved are the parameters that nobody may add, with the reason.
var reserved = map[string]string{
	"roothash":       "says which root is trusted and is set by the build",
	"keelson.verity": "says which root is trusted and is set by the build",
	boardParam:       "is set by the build; give --board",
	versionParam:     "is set by the build; give --version",
	serialParam:      "is set by the build; give --serial and --minimum-serial",
	kubernetesParam:  "is set by the build, from the node's program",
	keysParam:        "says whose upgrades are trusted; give --trust",
}

// identity returns the arguments that say what is built.
func (b *builder) identity(kubernetes string) []string {
	args := []string{
		boardParam + "=" + b.board.Name,
		versionParam + "=" + b.opts.Version,
		fmt.Sprintf("%s=%d:%d", serialParam, b.opts.Serial, b.opts.MinimumSerial),
	}
	if kubernetes != "" {
		args = append(args, kubernetesParam+"="+kubernetes)
	}
	if len(b.keys) > 0 {
		var keys []string
		for _, k := range b.keys {
			keys = append(keys, k.String())
		}
		args = append(args, keysParam+"="+strings.Join(keys, ","))
	}
	return args
}

// cmdline returns the kernel command line. The root hash in it is what makes the root
// trusted, so nothing the user adds may name another one. identity stands behind what verifies the root.
func cmdline(b *boards.Board, t verity.Tree, identity, kargs []string) (string, error) {
	args := []string{
		fmt.Sprintf("roothash=%x", t.RootHash),
		fmt.Sprintf("keelson.verity=%d:%d:%x", t.DataBlocks, t.HashOffset, t.Salt),
	}
	args = append(args, identity...)
	for _, c := range b.Consoles {
		args = append(args, "console="+c)
	}
	args = append(args, "panic=10", "quiet", "loglevel=4")
	args = append(args, b.Cmdline...)
	args = append(args, kargs...)
	line := strings.Join(args, " ")
	if len(line) > maxCmdline {
		return "", fmt.Errorf("kernel command line has %d bytes, at most %d are possible: give less with --karg or --trust", len(line), maxCmdline)
	}
	return line, nil
}

// checkKargs refuses additions that are not one argument each, that would undo the root's verification or that
// would change what the node is told of itself.
func checkKargs(kargs []string) error {
	for _, k := range kargs {
		key, _, _ := strings.Cut(strings.TrimPrefix(k, `"`), "=") // a quote around the whole is taken off by the kernel
		why, isReserved := reserved[strings.TrimSuffix(key, `"`)]
		switch {
		case k == "":
			return fmt.Errorf("--karg: is empty")
		case strings.ContainsAny(k, "\x00\n\r\t"):
			return fmt.Errorf("--karg %q: has a control character", k)
		case strings.Contains(k, " ") && strings.Count(k, `"`) != 2:
			return fmt.Errorf("--karg %q: has a space; give one argument per --karg, or put the value in double quotes", k)
		case isReserved:
			return fmt.Errorf("--karg %q: %s %s", k, key, why)
		}
	}
	return nil
}
