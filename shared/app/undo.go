package app

import (
	"errors"
	"slices"
)

// An Undo remembers how to put a host back as it was. The zero value is ready. It
// is not safe for concurrent use.
//
//	var undo app.Undo
//	defer undo.All(&err)
//	if err := undo.Add(route.Default(...)); err != nil { ... }
type Undo struct{ steps []func() error }

// Add takes what a function that changes the host returns: the way back, which is
// remembered, or the error, which is returned.
func (u *Undo) Add(step func() error, err error) error {
	if err != nil {
		return err
	}
	u.steps = append(u.steps, step)
	return nil
}

// All takes all the ways back, the last one first, also after one has failed. Their
// errors are added to err.
func (u *Undo) All(err *error) {
	errs := []error{*err}
	for _, step := range slices.Backward(u.steps) {
		errs = append(errs, step())
	}
	u.steps = nil
	*err = errors.Join(errs...)
}
