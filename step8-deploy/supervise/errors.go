package supervise

import "errors"

// Refused marks err as the server's own answer: it knows who asks, and does not
// want the client. It is for the state of an account, such as revoked, expired or
// a wrong password; a server that is full may have room soon, which is no
// refusal in this sense.
func Refused(err error) error { return refusedError{err} }

type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// Final marks err as one that no further try can mend, such as a missing
// permission on this host. It ends Run.
func Final(err error) error { return finalError{err} }

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func isRefused(err error) bool { return errors.As(err, new(refusedError)) }
func isFinal(err error) bool   { return errors.As(err, new(finalError)) }
