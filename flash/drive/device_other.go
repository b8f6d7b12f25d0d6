//go:build !linux && !darwin && !windows

package drive

import (
	"context"
	"errors"
	"os"
)

const howToGetRights = "run keelson as the administrator"

func (d *Device) openDisk(context.Context, *Disk, bool) error { return errors.ErrUnsupported }
func openDirect(string) *os.File                              { return nil }
func (d *Device) zeroOut(int64, int64) error                  { return errors.ErrUnsupported }
func (d *Device) flush() error                                { return d.plain.Sync() }
func (d *Device) forget()                                     {}
func (d *Device) reread()                                     {}
