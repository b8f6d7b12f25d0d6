package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/keelson-os/keelson/flash/drive"
)

// list shows the disks and what to type.
func (o *flashOptions) list(ctx context.Context, w io.Writer) error {
	disks, err := drive.List(ctx)
	if err != nil {
		return err
	}
	var shown []drive.Disk
	for _, d := range disks {
		if d.Removable || o.all {
			shown = append(shown, d)
		}
	}
	quote, sudo := shellQuote, "sudo "
	if runtime.GOOS == "windows" { // its shell's quotes are others, and it has no sudo
		quote, sudo = func(s string) string { return s }, ""
	} else if os.Geteuid() == 0 {
		sudo = ""
	}
	image := cmp.Or(quote(o.image), "IMAGE")
	if o.build.wanted() {
		image = "--board … --config …"
	}
	if err := writeDisks(w, shown, len(disks)-len(shown)); err != nil || len(shown) == 0 {
		return err
	}
	example := "DISK"
	for _, d := range shown {
		if d.Check(0, nil) == nil {
			example = d.Path
			break
		}
	}
	_, err = fmt.Fprintf(w, "\nnext, with your disk: %skeelson flash %s %s\n", sudo, image, quote(example))
	return err
}

// writeDisks writes one line per disk.
func writeDisks(w io.Writer, disks []drive.Disk, hidden int) error {
	if len(disks) == 0 {
		text := "no disk that can be taken out was found: plug one in, or give a built-in one by its path"
		if hidden > 0 {
			text += fmt.Sprintf(" (--all lists the %d built-in ones)", hidden)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "DISK\tSIZE\tMODEL\tBUS\tON IT")
	for _, d := range disks {
		on := d.Contents()
		for _, u := range d.Uses {
			on += fmt.Sprintf("; %s: %s", u.Kind, u.By)
		}
		if d.ReadOnly {
			on += "; read-only"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", d.Path, gigabytes(d.Size), cmp.Or(d.Model, "-"), cmp.Or(d.Bus, "-"), on)
	}
	return t.Flush()
}

// gigabytes returns n bytes as disks are sold.
func gigabytes(n int64) string {
	if n < 1_000_000_000 {
		return megabytes(n)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// errNotConfirmed says that the user said no.
var errNotConfirmed = errors.New("nothing was written: only \"yes\" goes on")

// confirm asks a person at a terminal.
func confirm(stdin io.Reader, w io.Writer, d *drive.Disk) error {
	path, size := d.Target()
	if d.IsFile() && size == 0 {
		return nil // nothing is lost
	}
	if _, ok := terminal(stdin); !ok {
		return fmt.Errorf("everything on %s (%s, %s) would be lost, and there is no terminal to ask at: give --yes", path, gigabytes(size), d.Describe())
	}
	return ask(stdin, w, d)
}

// ask shows which disk it is and what is on it, and wants a "yes".
func ask(stdin io.Reader, w io.Writer, d *drive.Disk) error {
	path, size := d.Target()
	fmt.Fprintf(w, "\n%s: %s, %s\n", path, gigabytes(size), d.Describe())
	if len(d.Partitions) > 0 {
		fmt.Fprintf(w, "on it: %s\n", d.Contents())
	}
	for _, u := range d.Uses {
		fmt.Fprintf(w, "%s: %s\n", u.Kind, u.By)
	}
	fmt.Fprintf(w, "\nAll that is on it will be lost. Type yes to go on: ")
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return errNotConfirmed
	}
	return nil
}
