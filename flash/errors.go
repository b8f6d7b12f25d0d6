package flash

import (
	"errors"
	"fmt"

	"github.com/keelson-os/keelson/flash/drive"
	"github.com/keelson-os/keelson/upgrade/fat"
)

// explain says what an error of the target means and what to do. Whatever it is, the disk
// is not finished, and the same command begins again.
func explain(t Target, doing string, err error) error {
	const again = "the disk is not finished; run the same command again when that is mended"
	var differ *DifferError
	switch {
	case errors.As(err, &differ):
		return err
	case errors.Is(err, fat.ErrFull):
		return fmt.Errorf("%s: %s: %w", t.Path(), doing, err)
	case drive.Full(err):
		return fmt.Errorf("%s: %s: no room is left there: %s (%w)", t.Path(), doing, again, err)
	case drive.Gone(err):
		return fmt.Errorf("%s: %s: the disk is gone, was it pulled out? %s (%w)", t.Path(), doing, again, err)
	case drive.Broken(err):
		return fmt.Errorf("%s: %s: the disk does not answer as it should: it was pulled out, or it, its reader or its cable is defective; %s (%w)", t.Path(), doing, again, err)
	}
	return fmt.Errorf("%s: %s: %w; %s", t.Path(), doing, err, again)
}
