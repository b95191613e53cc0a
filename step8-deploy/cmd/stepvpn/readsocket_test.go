package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/lastseen"
	"stepvpn/step8-deploy/status"
)

// The list of clients says what the registry has, who is connected, and when the others were; also of very many.
func TestListOfClients(t *testing.T) {
	const many = 10_000
	var text strings.Builder
	var keys []noise.PublicKey
	for i := range many {
		keys = append(keys, noise.PublicKey{byte(i), byte(i >> 8), 1})
		fmt.Fprintf(&text, "client%d %s addr=10.%d.%d.7 expires=2020-01-01\n", i, noise.FormatKey(keys[i]), i>>8, i&255)
	}
	registry, err := identity.Parse("clients", text.String())
	require.NoError(t, err)
	seen := lastseen.Open(filepath.Join(t.TempDir(), "seen"), func(noise.PublicKey) bool { return true })
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seen.Note(keys[1], then, noise.PublicKey{})
	there := []hub.Status{{Name: "client0", Key: keys[0], LoggedIn: true}, {Name: "client2", Key: keys[2]}}
	report := func() *status.Report {
		return &status.Report{Role: "server", Now: time.Now(), Peers: []status.Peer{
			{Name: "client0", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")}}, {Name: "client2"},
		}}
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Socket{Path: path, Name: control.Status}.Listen()
	require.NoError(t, err)
	defer publish(l, nil, report, serverRoutes(func() *identity.Registry { return registry }, seen, keyChange{},
		func() ([]hub.Status, *status.Report) { return there, report() }, newNews())...)()
	var got control.Clients
	began := time.Now()
	require.NoError(t, control.Get(t.Context(), path, "/clients", &got))
	t.Logf("%d clients in %v", many, time.Since(began))
	require.Equal(t, fmt.Sprintf("%x", registry.Digest()), got.Registry)
	require.Len(t, got.Clients, many)
	require.Equal(t, "10.0.0.7", got.Clients[0].Session.Addresses[0].String())
	require.Equal(t, then, got.Clients[1].LastSeen)
	require.Nil(t, got.Clients[2].Session, "it has not logged in")
	require.True(t, got.Clients[many-1].Expired)
	require.Equal(t, noise.FormatKey(keys[many-1]), got.Clients[many-1].PublicKey)

	list, err := listed(t.Context(), "", "", path)
	require.NoError(t, err)
	require.Equal(t, []string{"client0", noise.FormatKey(keys[0]), "10.0.0.7", "2020-01-01T00:00:00Z (over)", "no", "now"}, list[0].row())
	require.Equal(t, "2026-01-02T03:04:05Z", list[1].seen)
	require.Equal(t, "never", list[2].seen)
}

// Refusals, which strangers cause, are told at a bounded rate; how many are not told is known.
func TestRefusalsAreBounded(t *testing.T) {
	var s refusals
	now := time.Now()
	told := 0
	for range 1000 {
		if is, _ := s.allow(now); is {
			told++
		}
	}
	require.Equal(t, refusalsAtOnce, told)
	is, omitted := s.allow(now.Add(time.Second))
	require.True(t, is)
	require.Equal(t, uint64(1000-refusalsAtOnce), omitted)
	is, _ = s.allow(now.Add(time.Second))
	require.False(t, is)
}
