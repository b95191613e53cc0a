package dashboard

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"stepvpn/shared/app"
	"stepvpn/step8-deploy/control"
)

//go:embed templates
var templateFiles embed.FS

// templates has each page's template, with the layout.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	funcs := template.FuncMap{"bytes": bytesText, "rate": rateText, "ago": agoText, "date": dateText, "join": joined,
		"used": usedText, "then": thenText}
	pages := make(map[string]*template.Template)
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(path.Base(file), ".html"); name != "layout" {
			pages[name] = template.Must(template.New("layout.html").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", file))
		}
	}
	return pages
}

// A page is what the layout gets.
type page struct {
	Name   string // of the template
	Title  string
	Inside bool // whoever sees it is logged in
	Data   any
}

// show answers with a page.
func show(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	var b bytes.Buffer // so that an error does not come in the middle of a page
	inside := r.Context().Value(sessionKey{}) != nil
	if err := templates[name].Execute(&b, page{name, title, inside, data}); err != nil {
		slog.Error("a page can't be made", "page", name, "error", err)
		http.Error(w, "this page can't be made: see the log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

type failData struct{ Text, Hint string }

// fail answers with an error, in a sentence, and what to do about it.
func fail(w http.ResponseWriter, r *http.Request, status int, text, hint string) {
	show(w, r, status, "error", "That did not work", failData{text, hint})
}

// failed answers with an error of the daemon.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway
	if refused, is := errors.AsType[control.Refused](err); is {
		status = refused.Status
	}
	hint := app.HintOf(err)
	if errors.Is(err, fs.ErrPermission) { // whoever reads this can't make a service root
		hint = `Set status_group = "stepvpn-status" and control_group = "stepvpn-admin" in server.toml, and restart the server.`
	}
	fail(w, r, status, sentence(err), hint)
}

// sentence returns an error as a sentence.
func sentence(err error) string {
	text := err.Error()
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// bytesText returns a number of bytes for people.
func bytesText(n uint64) string { return scaled(float64(n), "B") }

// rateText returns a number of bytes per second as bits per second, as providers count.
func rateText(bytesPerSecond float64) string { return scaled(8*bytesPerSecond, "bit/s") }

func scaled(n float64, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T", "P"}
	i := 0
	for n >= 999.5 && i < len(prefixes)-1 {
		n /= 1000
		i++
	}
	if i == 0 || n >= 99.5 {
		return fmt.Sprintf("%.0f %s%s", n, prefixes[i], unit)
	}
	return fmt.Sprintf("%.1f %s%s", n, prefixes[i], unit)
}

// agoText returns how long ago a time was.
func agoText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	switch d := time.Since(t); {
	case d < 2*time.Second:
		return "just now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s ago", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min ago", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h ago", d.Hours())
	default:
		return fmt.Sprintf("%.0f days ago", d.Hours()/24)
	}
}

// dateText returns a time for people, in UTC, as the VPN's commands show it.
func dateText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func joined(list []netip.Addr) string {
	var words []string
	for _, a := range list {
		words = append(words, a.String())
	}
	return strings.Join(words, ", ")
}
