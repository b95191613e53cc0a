package plan

import "time"

// This file is when a quota begins anew: at 0:00 UTC of a day of each month, as the registry's
// expires= counts days. That day is from 1 to 28, which every month has.

// Begin returns when the period that contains a time has begun.
//
//exercise:2
func Begin(now time.Time, day int) time.Time {
	now = now.UTC()
	at := time.Date(now.Year(), now.Month(), day, 0, 0, 0, 0, time.UTC)
	if at.After(now) {
		at = time.Date(now.Year(), now.Month()-1, day, 0, 0, 0, 0, time.UTC)
	}
	return at
}

// Next returns when the period after that one begins.
//
//exercise:2
func Next(now time.Time, day int) time.Time {
	return Begin(now, day).AddDate(0, 1, 0)
}

// A Usage is how much of its quota a client has used in a period.
type Usage struct {
	Since time.Time // when the period has begun
	Bytes uint64
}

// At returns the usage at a time. If a later period has begun, nothing is used. A clock that is
// set back takes no usage away, and doesn't put off the next period either: what was used counts for
// the period that is now.
//
//exercise:2
func (u Usage) At(now time.Time, day int) Usage {
	since := Begin(now, day)
	if since.After(u.Since) {
		u.Bytes = 0
	}
	u.Since = since
	return u
}
