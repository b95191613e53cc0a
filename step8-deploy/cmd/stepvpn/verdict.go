package main

import (
	"errors"
	"stepvpn/shared/app"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step8-deploy/supervise"
)

// verdict marks an error by which the server has refused this client for good, so that the
// supervisor does not ask it again soon, and gives another error its cure.
func verdict(err error) error {
	if why, ok := errors.AsType[*secure.Rejected](err); ok && why.Final {
		return supervise.Refused(app.Hint(err, "Ask the server's owner. The client asks again by itself after 5 minutes."))
	}
	if errors.Is(err, secure.ErrUnread) {
		return app.Hint(secure.ErrUnread, "Check the settings psk and psk_file: the server's owner knows whether this client has a key of its own.")
	}
	return err
}
