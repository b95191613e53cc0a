package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/status"
)

// This file is what a client may use: how a page shows that, and the form that changes it.

// byDefault is the value of a limit for what the server's settings say.
const byDefault = "default"

// A limitField is one field of the form.
type limitField struct {
	Name, Label string
	Now         string // what is in force
	Own         bool   // by the client's own line; otherwise by the server's settings
	Value       string // what the field has
	Wrong       bool   // the server has refused that
}

// Limits are the fields of a client's form for limits.
func (d clientData) Limits() []limitField {
	var own control.Limit
	if d.OwnLimits != nil {
		own = *d.OwnLimits
	}
	quota := "none"
	if d.Quota != nil {
		quota = bytesText(d.Quota.Bytes) + " a month"
	}
	fields := []limitField{
		{Name: "down", Label: "Rate to it", Now: limitText(d.LimitDown), Value: own.Down},
		{Name: "up", Label: "Rate from it", Now: limitText(d.LimitUp), Value: own.Up},
		{Name: "quota", Label: "Quota, both ways", Now: quota, Value: own.Quota},
	}
	for i := range fields {
		f := &fields[i]
		f.Own = f.Value != ""
		if d.Refused == "limit" {
			f.Value, f.Wrong = d.Typed.Get(f.Name), f.Name == d.Wrong
		}
	}
	return fields
}

// limitText returns a limit in bits per second for people.
func limitText(bitsPerSecond int64) string {
	if bitsPerSecond == 0 {
		return "none"
	}
	return rateText(float64(bitsPerSecond) / 8)
}

// usedText returns how much of a quota is used.
func usedText(q *status.Quota) string {
	return fmt.Sprintf("%s of %s", bytesText(q.Used), bytesText(q.Bytes))
}

// thenText returns what happens when a quota is used up, or has happened.
func thenText(q *status.Quota) string {
	switch {
	case q.Slow != 0 && q.Over:
		return "slowed down to " + limitText(q.Slow)
	case q.Slow != 0:
		return "it will be slowed down to " + limitText(q.Slow)
	case q.Over:
		return "cut off"
	}
	return "it will be cut off"
}

// limit changes what a client may use. What the form leaves as it was isn't sent, so the audit log has only
// what was changed.
func (s *Server) limit(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "limit", func(form url.Values, c control.Client) (any, error) {
		var own, set control.Limit
		if c.OwnLimits != nil {
			own = *c.OwnLimits
		}
		for _, f := range []struct {
			name string
			was  string
			to   *string
		}{{"down", own.Down, &set.Down}, {"up", own.Up, &set.Up}, {"quota", own.Quota, &set.Quota}} {
			value := strings.ReplaceAll(form.Get(f.name), " ", "")
			if value == byDefault {
				value = ""
			}
			if value == f.was || !form.Has(f.name) {
				continue
			}
			if *f.to = value; value == "" {
				*f.to = byDefault
			}
		}
		if set == (control.Limit{}) {
			return nil, errUnchanged
		}
		return set, nil
	})
}

// errUnchanged says that a form asks for nothing that isn't so already.
var errUnchanged = errors.New("nothing is to be changed")
