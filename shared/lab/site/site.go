// Package site is the web site of the lab, in demos and tests alike: it logs its visitors,
// tells them their address, accepts a password, which eve may be able to read, and serves
// files whose content is known.
package site

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// MaxFile is the size in bytes of the longest file that the site serves.
const MaxFile = 1 << 30

// maxForm bounds the body of a login, in bytes.
const maxForm = 4 << 10

// New returns the site as a server that is ready to Serve. Each request makes
// one call of visit, with the visitor's address and the request, such as
// "198.51.100.10" and "GET /whoami"; visit must be safe for concurrent use.
//
//	GET  /whoami               the visitor's address
//	GET  /file?bytes=N         N bytes that look random and are always the same
//	GET  /file.sha256?bytes=N  the SHA-256 of those, in hex
//	POST /login                accepts a form with a user and a password
func New(visit func(address, request string)) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /whoami", whoami)
	mux.HandleFunc("GET /file", file)
	mux.HandleFunc("GET /file.sha256", hash)
	mux.HandleFunc("GET /login", form)
	mux.HandleFunc("POST /login", login)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			visit(visitor(r), r.Method+" "+r.URL.Path)
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
	}
}

// Hash returns the SHA-256 of the file of n bytes, in hex.
func Hash(n int64) string {
	h := sha256.New()
	io.CopyN(h, content(), n) // neither end can fail
	return fmt.Sprintf("%x", h.Sum(nil))
}

// content returns an endless stream; a file is the beginning of it. It can't be compressed,
// so no layer can make the transfer easier.
func content() io.Reader { return rand.NewChaCha8([32]byte{}) }

func whoami(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, visitor(r)) }

func file(w http.ResponseWriter, r *http.Request) {
	n, err := size(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	io.CopyN(w, content(), n) // an error means that the visitor has left
}

func hash(w http.ResponseWriter, r *http.Request) {
	n, err := size(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, Hash(n))
}

func form(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, `<form method="post">
<input name="user"><input name="password" type="password"><button>Log in</button>
</form>
`)
}

func login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "this form cannot be read", http.StatusBadRequest)
		return
	}
	if r.PostForm.Get("user") == "" || r.PostForm.Get("password") == "" {
		http.Error(w, "a login needs a user and a password", http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, "Welcome, %q.\n", r.PostForm.Get("user"))
}

// size reads ?bytes=N.
func size(r *http.Request) (int64, error) {
	n, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	if err != nil || n < 0 || n > MaxFile {
		return 0, fmt.Errorf("?bytes=N must be a number from 0 to %d", MaxFile)
	}
	return n, nil
}

func visitor(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // net/http wrote it
	return host
}
