package supervise

import "errors"

// Refused marks err as a refusal by the server itself, which knows the client and does not
// let it in. It is for the state of an account, such as revoked, expired or a wrong
// password. A server that is full is no refusal in this sense, as it may have room soon.
func Refused(err error) error { return refusedError{err} }

type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

func isRefused(err error) bool { return errors.As(err, new(refusedError)) }
