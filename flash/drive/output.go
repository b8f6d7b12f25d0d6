//go:build darwin || windows

package drive

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// output runs one of the system's programs and returns what it printed. The error has what
// it said on its standard error.
func output(ctx context.Context, program string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
