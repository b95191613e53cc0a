package dashboard

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)

// A session ends when it was idle, when it is old, and when its owner wants it.
func TestSessionEnds(t *testing.T) {
	var s Sessions
	id := s.Begin(noon)
	ctx, ok := s.Use(id, noon.Add(idleFor-time.Second), true)
	require.True(t, ok, "it was used within the time")
	_, ok = s.Use(id, noon.Add(2*idleFor-2*time.Second), true)
	require.True(t, ok, "each use begins the idle time anew")
	require.NoError(t, ctx.Err())
	_, ok = s.Use(id, noon.Add(3*idleFor-2*time.Second), true)
	require.False(t, ok, "it was idle for too long")
	require.Error(t, ctx.Err(), "what is under way for it ends")
	_, ok = s.Use(id, noon, true)
	require.False(t, ok, "what has ended does not come back, whatever the clock says")

	id = s.Begin(noon)
	now := noon
	for ; now.Sub(noon) < lastsFor-time.Minute; now = now.Add(time.Minute) {
		_, ok = s.Use(id, now, true)
		require.True(t, ok)
	}
	_, ok = s.Use(id, noon.Add(lastsFor), true)
	require.False(t, ok, "a session in use ends, too, after 12 hours")

	id = s.Begin(noon)
	ctx, _ = s.Use(id, noon, true)
	s.End(id)
	require.Error(t, ctx.Err())
	_, ok = s.Use(id, noon, true)
	require.False(t, ok, "it was ended")
}

// What a page asks for by itself keeps no session alive.
func TestPageAloneIsNoUse(t *testing.T) {
	var s Sessions
	id := s.Begin(noon)
	for d := time.Duration(0); d < idleFor; d += time.Minute {
		_, ok := s.Use(id, noon.Add(d), false)
		require.True(t, ok)
	}
	_, ok := s.Use(id, noon.Add(idleFor), false)
	require.False(t, ok, "a page that nobody looks at keeps its session alive")
}

// An ID has 32 random bytes.
func TestSessionID(t *testing.T) {
	var s Sessions
	seen := make(map[string]bool)
	for range maxSessions {
		id := s.Begin(noon)
		require.False(t, seen[id], "an ID comes twice")
		seen[id] = true
		raw, err := base64.RawURLEncoding.DecodeString(id)
		require.NoError(t, err)
		require.Len(t, raw, idSize, "an ID has too few bytes: it could be guessed")
	}
	for id := range seen {
		_, ok := s.Use(id, noon, true)
		require.True(t, ok)
	}
	for _, wrong := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		_, ok := s.Use(wrong, noon, true)
		require.False(t, ok, wrong)
	}
}

// There are only so many sessions: the idlest one makes room.
func TestSessionsAreBounded(t *testing.T) {
	var s Sessions
	var ids []string
	for i := range maxSessions {
		ids = append(ids, s.Begin(noon.Add(time.Duration(i)*time.Second)))
	}
	_, ok := s.Use(ids[0], noon.Add(time.Minute), true)
	require.True(t, ok)
	for i := range 3 {
		s.Begin(noon.Add(2*time.Minute + time.Duration(i)*time.Second))
	}
	require.Len(t, s.open, maxSessions, "too many sessions are kept")
	_, ok = s.Use(ids[0], noon.Add(3*time.Minute), false)
	require.True(t, ok, "a session that is used makes room before one that is idle")
	for _, id := range ids[1:4] {
		_, ok = s.Use(id, noon.Add(3*time.Minute), false)
		require.False(t, ok, "the idlest session stays")
	}
}

// Browsers keep the cookie from scripts, other sites, and plain HTTP.
func TestCookie(t *testing.T) {
	require.Equal(t, "__Host-stepvpn=id; Path=/; HttpOnly; Secure; SameSite=Strict", cookie("id").String())
	require.Equal(t, "__Host-stepvpn=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict", cookie("").String())
}
