package machine

import (
	"errors"
	"net/http"
)

// Error is an answer that is not 2xx, or the end of a stream.
type Error struct {
	Status  int    `json:"status"`       // the HTTP status it has, or would have had
	Message string `json:"error"`        // what is wrong
	Do      string `json:"do,omitempty"` // what can be done about it
}

func (e *Error) Error() string {
	if e.Do != "" {
		return e.Message + "; " + e.Do
	}
	return e.Message
}

// What a caller may want to know of an Error; use errors.Is.
var (
	ErrForbidden   = errors.New("the certificate's role may not do this") // 403
	ErrNotFound    = errors.New("there is no such thing on this node")    // 404
	ErrBusy        = errors.New("something else is under way")            // 409: an upgrade, a trial, a shutdown
	ErrRefused     = errors.New("refused")                                // 422: the bundle, the configuration
	ErrUnavailable = errors.New("not available now; try again")           // 503
)

// Is tells of which kind the error is.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrForbidden:
		return e.Status == http.StatusForbidden
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrBusy:
		return e.Status == http.StatusConflict
	case ErrRefused:
		return e.Status == http.StatusUnprocessableEntity
	case ErrUnavailable:
		return e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests
	}
	return false
}
