package dashboard

import (
	"cmp"
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
	Was         string // what that line says
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
		{Name: "down", Label: "Down, to the client", Now: limitText(d.LimitDown), Was: own.Down},
		{Name: "up", Label: "Up, from the client", Now: limitText(d.LimitUp), Was: own.Up},
		{Name: "quota", Label: "Quota, both ways", Now: quota, Was: own.Quota},
	}
	for i := range fields {
		f := &fields[i]
		f.Own, f.Value = f.Was != "", f.Was
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

// limit changes what a client may use. What the form leaves as the page has shown it isn't sent: so nobody
// undoes what others have changed in the meantime, and the audit log has only what was meant.
func (s *Server) limit(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, "limit", func(form url.Values) any {
		var set control.Limit
		for name, to := range map[string]*string{"down": &set.Down, "up": &set.Up, "quota": &set.Quota} {
			value := strings.ReplaceAll(form.Get(name), " ", "")
			if value == byDefault {
				value = ""
			}
			if value != form.Get(name+"-was") {
				*to = cmp.Or(value, byDefault)
			}
		}
		if set == (control.Limit{}) {
			return nil
		}
		return set
	})
}
