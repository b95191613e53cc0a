package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/hub"
	"stepvpn/step7-auth/identity"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/further/limits"
	"stepvpn/step8-deploy/further/limits/plan"
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
	limited := limits.Open(limits.Config{
		Default: plan.Plan{Up: 5e6, Quota: 1e9}, Registry: func() *identity.Registry { return registry }, State: filepath.Join(t.TempDir(), "used"),
	})
	there := []hub.Status{{Name: "client0", Key: keys[0], LoggedIn: true}, {Name: "client2", Key: keys[2]}}
	report := func() *status.Report {
		return &status.Report{Role: "server", Now: time.Now(), Peers: []status.Peer{
			{Name: "client0", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")}}, {Name: "client2"},
		}}
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Socket{Path: path, Name: control.Status}.Listen()
	require.NoError(t, err)
	defer publish(l, nil, report, serverRoutes(func() *identity.Registry { return registry }, seen, keyChange{}, limited,
		func() ([]hub.Status, *status.Report) { return there, report() }, newNews(), noUsage{})...)()
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
	require.Zero(t, got.Clients[1].LimitDown)
	require.EqualValues(t, 5e6, got.Clients[1].LimitUp)
	require.EqualValues(t, 1e9, got.Clients[1].Quota.Bytes)
	require.Equal(t, noise.FormatKey(keys[many-1]), got.Clients[many-1].PublicKey)

	list, err := listed(t.Context(), "", "", path)
	require.NoError(t, err)
	require.Equal(t, []string{"client0", noise.FormatKey(keys[0]), "10.0.0.7", "2020-01-01T00:00:00Z (over)", "no", "now"}, list[0].row())
	require.Equal(t, "2026-01-02T03:04:05Z", list[1].seen)
	require.Equal(t, "never", list[2].seen)
	require.Equal(t, "up 5Mbit/s, quota 1GB/month", list[2].limits())

	// Somebody who may read the registry sees the same, and without a server what that and the settings say.
	folder := t.TempDir()
	file := func(name, text string) string {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
		return filepath.Join(folder, name)
	}
	file("clients", identity.NewText+strings.Join(strings.SplitAfter(text.String(), "\n")[:3], ""))
	file("server.key", noise.FormatKey(noise.GenerateKey())+"\n")
	const settings = "kind = \"server\"\nkey_file = \"server.key\"\nclients_file = \"clients\"\nstate = \"state\"\nsubnets = [\"10.0.0.1/8\"]\nlimit_up = \"5Mbit/s\"\nquota = \"1GB/month\"\n"
	by, err := listed(t.Context(), "", file("server.toml", settings+fmt.Sprintf("status_socket = %q\n", path)), "")
	require.NoError(t, err)
	require.Len(t, by, 3)
	for i := range by {
		require.Equal(t, list[i].limits(), by[i].limits())
		require.Equal(t, list[i].Session, by[i].Session)
	}
	alone, err := listed(t.Context(), "", file("server.toml", settings+"status_socket = \"\"\n"), "")
	require.NoError(t, err)
	require.Equal(t, "up 5Mbit/s, quota 1GB/month", alone[2].limits())
	require.Nil(t, alone[0].Session)
}

// The list has a column for limits if somebody has one, and JSON has all that the server says.
func TestListLimits(t *testing.T) {
	plain := listing{Client: control.Client{Name: "alice", PublicKey: "k"}, seen: "never"}
	limited := listing{Client: control.Client{Name: "bob", PublicKey: "k", LimitDown: 20e6, Quota: &status.Quota{Bytes: 100e9, Used: 42.5e9}}, seen: "now"}
	over := listing{Client: control.Client{Name: "carol", PublicKey: "k", LimitUp: 64e3, Quota: &status.Quota{Bytes: 1 << 20, Used: 2 << 20, Over: true}}, seen: "now"}
	table := func(list ...listing) string {
		var b strings.Builder
		require.NoError(t, writeTable(&b, list))
		return b.String()
	}
	require.Equal(t, "NAME   PUBLIC KEY  ADDRESSES  EXPIRES  PASSWORD  LAST SEEN\n"+
		"alice  k           any        never    no        never\n", table(plain))
	require.Equal(t, "NAME   PUBLIC KEY  ADDRESSES  EXPIRES  PASSWORD  LAST SEEN  LIMITS\n"+
		"alice  k           any        never    no        never      none\n"+
		"bob    k           any        never    no        now        down 20Mbit/s, quota 100GB/month (42% used)\n"+
		"carol  k           any        never    no        now        up 64kbit/s, quota 1MiB/month (used up)\n", table(plain, limited, over))
	require.NotPanics(t, func() { table(listing{Client: control.Client{Quota: &status.Quota{Used: 1}}}) })
	var b strings.Builder
	require.NoError(t, writeClients(&b, []listing{limited, plain}))
	lines := strings.SplitAfter(b.String(), "\n")
	var got control.Client
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &got))
	require.Equal(t, limited.Client, got)
	require.Len(t, lines, 3)
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
