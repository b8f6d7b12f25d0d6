package module

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Modprobe is the program /sbin/modprobe as the kernel and Kubernetes call it:
//
//	modprobe [-q] [-v] [-n] [--] NAME [OPTION=VALUE…]
//	modprobe -a [-q] [-v] [-n] NAME…
//
// NAME is a module or an alias. With -q a name nobody knows is an error without a word.
// -n loads nothing. It returns the exit code.
func Modprobe(args []string, l *Loader, stdout, stderr io.Writer) int {
	c, err := parseModprobe(args)
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	code := 0
	for _, name := range c.names {
		err := c.load(l, name, stdout)
		if err == nil {
			continue
		}
		code = 1
		if !c.quiet || !errors.Is(err, ErrNotFound) {
			fmt.Fprintf(stderr, "modprobe: %v\n", err)
		}
	}
	return code
}

func (c modprobe) load(l *Loader, name string, stdout io.Writer) error {
	if c.verbose || c.dry {
		names, err := l.Resolve(name)
		if err != nil {
			return err
		}
		if c.verbose {
			for _, n := range names {
				fmt.Fprintf(stdout, "%s\n", strings.TrimSpace("insmod "+n+" "+c.options))
			}
		}
	}
	if c.dry {
		return nil
	}
	return l.LoadWith(name, c.options)
}

type modprobe struct {
	quiet, verbose, dry bool
	names               []string
	options             string
}

func parseModprobe(args []string) (modprobe, error) {
	var c modprobe
	all, flags := false, true
	var rest []string
	for _, a := range args {
		switch {
		case !flags || len(a) < 2 || a[0] != '-':
			rest = append(rest, a)
		case a == "--":
			flags = false
		case strings.HasPrefix(a, "--"):
			switch a {
			case "--all":
				all = true
			case "--quiet":
				c.quiet = true
			case "--verbose":
				c.verbose = true
			case "--dry-run", "--show":
				c.dry = true
			default:
				return c, fmt.Errorf("flag %s is not known; known: -a -n -q -v", a)
			}
		default:
			for _, f := range a[1:] {
				switch f {
				case 'a':
					all = true
				case 'q', 's', 'b': // s: to syslog; b: obey blacklists, of which there are none
					c.quiet = c.quiet || f == 'q'
				case 'v':
					c.verbose = true
				case 'n':
					c.dry = true
				default:
					return c, fmt.Errorf("flag -%c is not known; known: -a -n -q -v", f)
				}
			}
		}
	}
	if len(rest) == 0 {
		return c, errors.New("no module given")
	}
	if all {
		c.names = rest
	} else {
		c.names, c.options = rest[:1], strings.Join(rest[1:], " ")
	}
	return c, nil
}
