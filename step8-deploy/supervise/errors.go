package supervise

import "errors"

// Refused marks err as the server's own answer: it knows who asks, and does not
// want the client. It is for the state of an account, such as revoked, expired or
// a wrong password; a server that is full may have room soon, which is no
// refusal in this sense.
func Refused(err error) error { return refusedError{err} }

type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

func isRefused(err error) bool { return errors.As(err, new(refusedError)) }
