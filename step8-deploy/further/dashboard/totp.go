package dashboard

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// The parameters of one-time codes, which are those of every authenticator app (RFC 6238). SHA-1 is
// as good as any here: what is known against it does not concern HMAC.
const (
	codeStep   = 30 * time.Second // a code's time
	codeDigits = 6
	codeSkew   = 1  // a clock may differ by so many steps
	secretSize = 20 // bytes of the secret: RFC 4226, section 4
)

// stepOf returns the number of the step that a time is in.
func stepOf(t time.Time) int64 { return t.Unix() / int64(codeStep/time.Second) }

// codeOf returns the code of a step: RFC 4226, section 5.3.
//
//exercise:2
func codeOf(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	number := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", codeDigits, number%1_000_000)
}

// A Codes checks one-time codes: each is taken once, and somebody who has the password and guesses
// codes has to wait longer from one to the next. Its methods are safe for concurrent use.
type Codes struct {
	secret []byte

	mu     sync.Mutex // guards all below
	used   int64      // the step of the latest code that was used: it and all before it are refused
	wrong  int        // wrong codes in a row
	lately time.Time  // when the last of them came
}

// The time that has to pass after a wrong code is firstPause, and twice as long after each in a row, up
// to maxPause. A guess is right with a chance of 3 in 1,000,000, so who knows the password and guesses all day
// is in by 0.1 %. The owner waits, too: see the log, and change the password.
const (
	firstPause = time.Second
	maxPause   = 5 * time.Minute
)

// ErrWrongCode says that a code is not, or no longer, right.
var ErrWrongCode = errors.New("wrong code")

// NewCodes returns a Codes for a secret. It refuses the codes of the steps up to now: before a restart,
// one may have been used.
func NewCodes(secret []byte, now time.Time) *Codes {
	return &Codes{secret: secret, used: stepOf(now)}
}

// Check returns nil if the code is right at this time. Otherwise the error is ErrWrongCode or a
// WaitError. Call it only for somebody who has given the right password.
//
//exercise:2
func (c *Codes) Check(code string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.lately.Add(c.pause()).Sub(now); c.wrong > 0 && wait > 0 && wait <= maxPause {
		return WaitError(wait)
	}
	c.used = min(c.used, stepOf(now)+codeSkew) // a clock that was ahead, as at boot, locks nobody out for long
	for step := stepOf(now) - codeSkew; step <= stepOf(now)+codeSkew; step++ {
		if subtle.ConstantTimeCompare([]byte(code), []byte(codeOf(c.secret, step))) == 1 && step > c.used {
			c.used, c.wrong = step, 0
			return nil
		}
	}
	c.wrong, c.lately = c.wrong+1, now
	return ErrWrongCode
}

// pause needs c.mu.
func (c *Codes) pause() time.Duration {
	return min(firstPause<<min(max(c.wrong-1, 0), 16), maxPause)
}

// A WaitError says that nothing was checked, because too much was wrong before, and for how long that
// will be so.
type WaitError time.Duration

func (e WaitError) Error() string {
	return fmt.Sprintf("too many wrong attempts: try again in %v", (time.Duration(e) + time.Second - 1).Truncate(time.Second))
}

// A secret's text is base32 without padding, as authenticator apps show it.
var secretText = base32.StdEncoding.WithPadding(base32.NoPadding)

// parseSecret reads the text of a secret.
func parseSecret(text string) ([]byte, error) {
	secret, err := secretText.DecodeString(text)
	if err != nil || len(secret) < 16 || len(secret) > 64 {
		return nil, errors.New("the secret for one-time codes is not base32 of 16 to 64 bytes")
	}
	return secret, nil
}

// keyURI returns what an authenticator app reads from a QR code
// (github.com/google/google-authenticator/wiki/Key-Uri-Format).
func keyURI(secret []byte, host string) string {
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/stepvpn:" + account + "@" + host,
		RawQuery: url.Values{"secret": {secretText.EncodeToString(secret)}, "issuer": {"stepvpn"}}.Encode()}
	return u.String()
}
