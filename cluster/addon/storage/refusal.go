package storage

import "fmt"

// refusal is an error that no second try mends: somebody has to change the object or the
// configuration. Its text goes into an event, so it says what to do.
type refusal struct{ text string }

func (r refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }
