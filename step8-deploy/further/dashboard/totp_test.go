package dashboard

import (
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rfcSecret = []byte("12345678901234567890")

// The codes are those of RFC 4226, appendix D, and of RFC 6238, appendix B (there with 8 digits, of which
// these are the last six).
func TestCodeOf(t *testing.T) {
	for step, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		require.Equal(t, want, codeOf(rfcSecret, int64(step)), "RFC 4226, count %d", step)
	}
	for _, c := range []struct {
		seconds int64
		want    string
	}{{59, "287082"}, {1111111109, "081804"}, {1111111111, "050471"}, {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"}} {
		require.Equal(t, c.want, codeOf(rfcSecret, stepOf(time.Unix(c.seconds, 0))), "RFC 6238, time %d", c.seconds)
	}
}

// Another program has the same codes.
func TestOathtool(t *testing.T) {
	for i := range 20 {
		secret := []byte(fmt.Sprintf("%020d", i*i*7919))
		at := noon.Add(time.Duration(i) * 1234567 * time.Second)
		out, err := exec.Command("oathtool", "--totp", "--base32", "--now", at.Format("2006-01-02 15:04:05 UTC"), secretText.EncodeToString(secret)).Output()
		require.NoError(t, err, "shared/lab/setup.sh oathtool installs it")
		require.Equal(t, strings.TrimSpace(string(out)), codeOf(secret, stepOf(at)))
	}
}

func TestCodesOfTheTime(t *testing.T) {
	now := noon
	c := NewCodes(rfcSecret, now.Add(-time.Hour))
	for _, step := range []int64{-1, 0, 1} {
		require.NoError(t, c.Check(codeOf(rfcSecret, stepOf(now)+step), now), "a clock may differ by %d steps", step)
	}
	now = now.Add(time.Hour)
	for _, step := range []int64{-2, 2, 1000} {
		require.ErrorIs(t, c.Check(codeOf(rfcSecret, stepOf(now)+step), now), ErrWrongCode, "the code of another time (%d steps) is taken", step)
		now = now.Add(time.Hour)
	}
	for _, wrong := range []string{"", "1", "abcdef", codeOf(rfcSecret, stepOf(now)) + "1"} {
		require.Error(t, c.Check(wrong, now), wrong)
		now = now.Add(time.Hour)
	}
}

// A code that was seen over somebody's shoulder is of no use any more.
func TestCodeIsTakenOnce(t *testing.T) {
	c := NewCodes(rfcSecret, noon.Add(-time.Hour))
	code := codeOf(rfcSecret, stepOf(noon))
	require.NoError(t, c.Check(code, noon))
	require.ErrorIs(t, c.Check(code, noon.Add(time.Second)), ErrWrongCode, "the same code is taken twice")
	require.ErrorIs(t, c.Check(codeOf(rfcSecret, stepOf(noon)-1), noon.Add(time.Minute-time.Second)), ErrWrongCode, "an older code is taken after a newer one")
	require.NoError(t, c.Check(codeOf(rfcSecret, stepOf(noon)+4), noon.Add(2*time.Minute)))

	// A restart does not know which code was used.
	restarted := NewCodes(rfcSecret, noon)
	require.ErrorIs(t, restarted.Check(code, noon.Add(time.Second)), ErrWrongCode, "a code is taken that may have been used before the restart")
}

// Somebody who has the password can't try all codes.
func TestGuessingCodesIsSlow(t *testing.T) {
	c := NewCodes(rfcSecret, noon.Add(-time.Hour))
	now, tries := noon, 0
	for now.Before(noon.Add(24 * time.Hour)) {
		switch err := c.Check("x", now); err.(type) {
		case WaitError:
			now = now.Add(time.Duration(err.(WaitError)))
		default:
			require.ErrorIs(t, err, ErrWrongCode)
			tries++
			require.Less(t, tries, 400, "in a day, more than 400 codes are tried")
		}
	}
	require.Greater(t, tries, 200)

	// The owner, after having waited.
	err := c.Check(codeOf(rfcSecret, stepOf(now)), now)
	if wait, is := err.(WaitError); is {
		now = now.Add(time.Duration(wait))
		err = c.Check(codeOf(rfcSecret, stepOf(now)), now)
	}
	require.NoError(t, err)
	require.NoError(t, c.Check(codeOf(rfcSecret, stepOf(now)+1), now), "a right code ends the wait")

	// A clock that is set back locks nobody out for long.
	require.ErrorIs(t, c.Check("x", now), ErrWrongCode)
	now = now.AddDate(-1, 0, 0)
	require.ErrorIs(t, c.Check(codeOf(rfcSecret, stepOf(now)), now), ErrWrongCode, "it may have been used")
	now = now.Add((codeSkew + 1) * codeStep)
	require.NoError(t, c.Check(codeOf(rfcSecret, stepOf(now)), now), "a clock that was ahead locks the owner out")
}

func TestSecretText(t *testing.T) {
	got, err := parseSecret(secretText.EncodeToString(rfcSecret))
	require.NoError(t, err)
	require.Equal(t, rfcSecret, got)
	for _, bad := range []string{"", "a", "GEZDGNBV", strings.Repeat("A", 1000), "gezdgnbvgy3tqojqgezdgnbvgy3tqojq"} {
		_, err := parseSecret(bad)
		require.Error(t, err, bad)
	}
	u, err := url.Parse(keyURI(rfcSecret, "vpn.example.org"))
	require.NoError(t, err)
	require.Equal(t, "otpauth", u.Scheme)
	require.Equal(t, "/stepvpn:admin@vpn.example.org", u.Path)
	require.Equal(t, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", u.Query().Get("secret"))
}
