package hub

import (
	"errors"
	"stepvpn/step4-crypto/secure"
)

// What a client is told if it is refused or cut off.
var (
	unknown       = secure.Rejected{Reason: "the server does not know this key: it was never added, or it was revoked", Final: true}
	expired       = secure.Rejected{Reason: "the access of this client has expired", Final: true}
	full          = secure.Rejected{Reason: "the server is full: it has as many clients as it may have"}
	noAddress     = secure.Rejected{Reason: "the server has no free address"}
	replaced      = secure.Rejected{Reason: "another machine with the same key has taken the place of this one", Final: true}
	crowded       = secure.Rejected{Reason: "too many programs ask to come in with this key: try again"}
	tooManyLogins = secure.Rejected{Reason: "too many wrong passwords", Final: true}
	changed       = secure.Rejected{Reason: "this client needs a password now"}
	noLogin       = secure.Rejected{Reason: "no login in time", Final: true}
	idle          = secure.Rejected{Reason: "the server has not heard from this client for too long"}
	stops         = secure.Rejected{Reason: "the server is stopping"}
)

// reasonOf returns what the client is told about err: err itself if it is a
// *secure.Rejected, or else otherwise.
func reasonOf(err error, otherwise secure.Rejected) secure.Rejected {
	if why, ok := errors.AsType[*secure.Rejected](err); ok {
		return *why
	}
	return otherwise
}
