package protocol

import (
	"bytes"

	"stepvpn/step4-crypto/secure"
)

// A Login is the client's answer to a Welcome that asks for one. It travels in the
// session, so unlike the payload of a handshake's first message it has forward secrecy.
// All logins have the same length on the wire, so that it does not reveal the length of
// the password.
//
//	attempt | length | user | length | password | zeros
type Login struct {
	// Attempt numbers the client's attempts. The client may send an attempt again, because
	// the result may be lost; the server does not check such a copy again.
	Attempt        byte
	User, Password string
}

// The largest sizes of a user name and a password, in bytes.
const (
	MaxUser     = 64
	MaxPassword = 255

	loginLen = 1 + 1 + MaxUser + 1 + MaxPassword
)

// Valid reports whether l can be sent. Both texts have at least one byte.
func (l Login) Valid() bool {
	return 1 <= len(l.User) && len(l.User) <= MaxUser && 1 <= len(l.Password) && len(l.Password) <= MaxPassword
}

// Append appends the encoding of l, which must be valid, to dst.
func (l Login) Append(dst []byte) []byte {
	m := make([]byte, 0, loginLen)
	m = append(m, l.Attempt, byte(len(l.User)))
	m = append(m, l.User...)
	m = append(m, byte(len(l.Password)))
	m = append(m, l.Password...)
	return append(dst, m[:loginLen]...)
}

// ParseLogin is the inverse of Append.
func ParseLogin(m []byte) (l Login, err error) {
	if len(m) != loginLen {
		return l, errFormat
	}
	l.Attempt = m[0]
	user, rest, ok := cutText(m[1:])
	if !ok {
		return Login{}, errFormat
	}
	password, rest, ok := cutText(rest)
	l.User, l.Password = user, password
	if !ok || !l.Valid() || len(bytes.Trim(rest, "\x00")) > 0 {
		return Login{}, errFormat
	}
	return l, nil
}

// cutText takes one text off m.
func cutText(m []byte) (text string, rest []byte, ok bool) {
	if len(m) == 0 || int(m[0]) > len(m)-1 {
		return "", nil, false
	}
	n := int(m[0])
	return string(m[1 : 1+n]), m[1+n:], true
}

// A Result is the server's answer to a login.
//
//	attempt | the refusal, if the login failed
type Result struct {
	Attempt byte
	Refused *secure.Rejected // nil if the client is logged in
}

// Append appends the encoding to dst.
func (r Result) Append(dst []byte) []byte {
	dst = append(dst, r.Attempt)
	if r.Refused == nil {
		return dst
	}
	return r.Refused.Append(dst)
}

// ParseResult is the inverse of Append.
func ParseResult(m []byte) (Result, error) {
	if len(m) == 0 {
		return Result{}, errFormat
	}
	r := Result{Attempt: m[0]}
	if len(m) == 1 {
		return r, nil
	}
	refused, ok := secure.ParseRejected(m[1:])
	if !ok {
		return Result{}, errFormat
	}
	r.Refused = &refused
	return r, nil
}
