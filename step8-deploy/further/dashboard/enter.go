package dashboard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"stepvpn/step7-auth/identity"
)

// This file is how a browser comes in, and goes.

// cookieName begins with a word that browsers know: they take such a cookie only over TLS, from the host
// itself and for all of it, so no other host of the same domain can set it.
const cookieName = "__Host-stepvpn"

// cookie returns the cookie for a session: "" ends it. Scripts can't read it (HttpOnly), and a browser does
// not send it along with what another site's page asks for (SameSite). It has no date, so it ends with the
// browser.
//
//exercise:1
func cookie(id string) *http.Cookie {
	c := &http.Cookie{Name: cookieName, Value: id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if id == "" {
		c.MaxAge = -1
	}
	return c
}

// knownName is the cookie by which a browser that has logged in before is known.
const knownName = "__Host-stepvpn-known"

// known returns that cookie. It opens nothing: see Door.
func known(mark string) *http.Cookie {
	c := cookie(mark)
	c.Name, c.MaxAge = knownName, 400*24*60*60 // as long as browsers keep any
	return c
}

type sessionKey struct{}

// needSession sends everybody without a session to the login. A request with one has a context that ends
// with it.
func (s *Server) needSession(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.URL.Path != livePath // which also a page asks for that nobody looks at
		var session context.Context
		c, err := r.Cookie(cookieName)
		ok := err == nil
		if ok {
			session, ok = s.sessions.Use(c.Value, s.now(), asked)
		}
		noteUse(r.Context(), ok)
		switch {
		case ok:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, session)))
		case r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Dest") != "empty":
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		default:
			fail(w, r, http.StatusUnauthorized, "You are not logged in, or no longer.", "")
		}
	})
}

type loginData struct{ Error string }

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	show(w, r, http.StatusOK, "login", "Log in", loginData{})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	if err := r.ParseForm(); err != nil {
		fail(w, r, http.StatusBadRequest, "The form can't be read.", "")
		return
	}
	from := addrOf(r.RemoteAddr)
	mark := ""
	if c, err := r.Cookie(knownName); err == nil {
		mark = c.Value
	}
	err := s.door.Enter(r.Context(), from, mark, r.PostForm.Get("password"), onlyDigits(r.PostForm.Get("code")))
	if err == nil {
		slog.Info("somebody has logged in", "peer", from)
		http.SetCookie(w, cookie(s.sessions.Begin(s.now())))
		http.SetCookie(w, known(s.door.Mark()))
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	slog.Warn("somebody could not log in", "peer", from, "reason", err) // package app bounds lines with a peer
	status, text := http.StatusForbidden, "Wrong password or code. A code can be used once: after a restart, or a second time, wait for the next one."
	wait, throttled := errors.AsType[WaitError](err)
	switch {
	case throttled:
		status, text = http.StatusTooManyRequests, "Too many wrong attempts. Try again in "+time.Duration(wait).Round(time.Second).String()+"."
	case errors.Is(err, identity.ErrBusy):
		status, text = http.StatusServiceUnavailable, "Too many others try to log in. Try again in a moment."
	}
	show(w, r, status, "login", "Log in", loginData{Error: text})
}

// onlyDigits returns a code as people type it, "123 456", without the space.
func onlyDigits(s string) string {
	var digits []byte
	for i := 0; i < len(s) && len(digits) <= codeDigits; i++ {
		if s[i] != ' ' {
			digits = append(digits, s[i])
		}
	}
	return string(digits)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.sessions.End(c.Value)
	}
	http.SetCookie(w, cookie(""))
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}
