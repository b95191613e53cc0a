package dashboard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// guarded sends a request through the guard, and returns the answer, and whether it got through.
func guarded(t *testing.T, change func(*http.Request)) (answer *http.Response, through bool) {
	t.Helper()
	h := guard([]string{"localhost", "127.0.0.1", "vpn.example.org", "2001:db8::1"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through = true
		if r.ParseForm() != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	}))
	r := httptest.NewRequest(http.MethodPost, "https://localhost:8443/add", strings.NewReader("name=alice"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	change(r)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), through
}

// The page answers only to its own names. (DNS rebinding: evil.example leads to 127.0.0.1 by now.)
func TestNames(t *testing.T) {
	for _, host := range []string{"localhost:8443", "LocalHost:8443", "localhost", "127.0.0.1:8443", "vpn.example.org", "[2001:db8::1]:8443", "[2001:db8::1]"} {
		_, through := guarded(t, func(r *http.Request) { r.Host = host })
		require.True(t, through, "%s is one of the page's names", host)
	}
	for _, host := range []string{"evil.example:8443", "evil.example", "", "localhost.evil.example", "xlocalhost:8443", "127.0.0.2:8443", "localhost:8443:1", "vpn.example.org.", "2001:db8::1"} {
		answer, through := guarded(t, func(r *http.Request) { r.Host = host })
		if host == "2001:db8::1" { // a port can't be told from an address, so it is 2001:db8: and 1
			continue
		}
		require.False(t, through, "%q is not one of the page's names, and is answered", host)
		require.Equal(t, http.StatusMisdirectedRequest, answer.StatusCode)
	}
}

// An address that came after the start is a name for requests to it, and for no others.
func TestLaterAddress(t *testing.T) {
	for host, want := range map[string]bool{"10.8.0.1:8443": true, "10.8.0.2:8443": false, "evil.example:8443": false} {
		_, through := guarded(t, func(r *http.Request) {
			r.Host = host
			at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.8.0.1:8443"))
			*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at)))
		})
		require.Equal(t, want, through, host)
	}
}

// A form that another site's page sends is refused, also if the browser sends the cookie along.
func TestOtherSitesForms(t *testing.T) {
	for header, values := range map[string][]string{
		"Sec-Fetch-Site": {"cross-site", "same-site"},
		"Origin":         {"https://evil.example", "null", "http://localhost:8443.evil.example"},
	} {
		for _, value := range values {
			answer, through := guarded(t, func(r *http.Request) { r.Header.Set(header, value) })
			require.False(t, through, "%s: %s: another site's form gets through", header, value)
			require.Equal(t, http.StatusForbidden, answer.StatusCode)
		}
	}
	for header, value := range map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://localhost:8443", "X-None": "x"} {
		_, through := guarded(t, func(r *http.Request) { r.Header.Set(header, value) })
		require.True(t, through, "%s: %s: the page's own form is refused", header, value)
	}
}

// Every answer has the headers, refused or not.
func TestHeaders(t *testing.T) {
	for _, host := range []string{"localhost", "evil.example"} {
		answer, _ := guarded(t, func(r *http.Request) { r.Host = host })
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			require.Contains(t, answer.Header.Get("Content-Security-Policy"), want, host)
		}
		require.NotContains(t, answer.Header.Get("Content-Security-Policy"), "unsafe")
		require.Equal(t, "no-store", answer.Header.Get("Cache-Control"), "%s: pages with keys would be kept on the disk", host)
		require.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-referrer", answer.Header.Get("Referrer-Policy"))
	}
}

// A large body is not read to its end.
func TestLargeBody(t *testing.T) {
	answer, through := guarded(t, func(r *http.Request) {
		r.Body = http.NoBody
	})
	require.True(t, through)
	require.Equal(t, http.StatusOK, answer.StatusCode)
	h := guard([]string{"localhost"}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	}))
	for size, want := range map[int]int{maxForm: http.StatusOK, maxForm + 1: http.StatusRequestEntityTooLarge, 100 << 20: http.StatusRequestEntityTooLarge} {
		r := httptest.NewRequest(http.MethodPost, "https://localhost/add", strings.NewReader(strings.Repeat("x", size)))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, "%d bytes", size)
	}
}
