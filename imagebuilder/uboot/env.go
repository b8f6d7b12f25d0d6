package uboot

import (
	"fmt"
	"strings"
)

// BootEnv returns a slot's boot.env. "env import -t" takes a backslash at the end of a line for a continued
// one, and every line for a variable; U-Boot's shell breaks a quoted word off whose variable holds a single quote.
func BootEnv(cmdline string) ([]byte, error) {
	if strings.ContainsAny(cmdline, "\x00\n\r\\'") {
		return nil, fmt.Errorf("uboot: kernel command line %q: has a single quote, backslash, line break or NUL, which U-Boot cannot pass on", cmdline)
	}
	return []byte("keelson_args=" + cmdline + "\n"), nil
}
