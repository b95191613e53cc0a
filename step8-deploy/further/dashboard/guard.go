package dashboard

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// This file is what stands in front of every page, whoever asks for it.

// policy is the Content-Security-Policy: a browser loads only what comes from here, runs no script and
// no style that stands in a page, and sends forms only to here. So a text that slips through the
// templates' escaping is still no program. The QR code is a picture in the page itself (data:), because a
// picture with an address of its own would be asked for, and kept, a second time.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// maxForm bounds the body of a request, in bytes.
const maxForm = 16 << 10

// maxLogin is the same for the login, which anybody can send.
const maxLogin = 2 << 10

// guard returns a handler that refuses what no page of ours sends. hosts are the names under which the
// page may be asked for.
//
//exercise:3
func guard(hosts []string, next http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, http.StatusForbidden, "This request comes from another site's page, and is refused.", "Open the page itself, and do it there.")
	}))
	protected := sameOrigin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store") // pages have keys in them
		if !isHost(hosts, r.Host) && !isHost(localAddress(r), r.Host) {
			fail(w, r, http.StatusMisdirectedRequest, "This page is not served under that name.", "Names besides its addresses stand in web.toml, as hosts.")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		protected.ServeHTTP(w, r)
	})
}

// isHost reports whether a Host header is one of ours. Another site's page can have its own name lead to
// our address (DNS rebinding); then its requests count as of the same origin, but they come with its
// name.
//
//exercise:3
func isHost(hosts []string, header string) bool {
	name, _, err := net.SplitHostPort(header)
	if err != nil {
		name = strings.Trim(header, "[]") // without a port
	}
	return slices.Contains(hosts, strings.ToLower(name))
}
