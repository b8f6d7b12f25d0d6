package drive

import "errors"

// isAny reports whether an error is one of those listed.
func isAny(err error, list ...error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
