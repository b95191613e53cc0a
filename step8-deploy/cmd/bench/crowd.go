package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"stepvpn/shared/app"
	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/transport"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step7-auth/cookie"
	"stepvpn/step7-auth/identity"
	"stepvpn/step7-auth/join"
)

// A crowdResult compares one client's throughput alone and in a crowd.
type crowdResult struct {
	Clients             int       // besides the one that is measured
	Alone, Crowded      []float64 // bit/s, to the server; a pair for each round
	HandshakesPerSecond []float64 // while the crowd connects, which takes a processor itself
	ServerMemory        int       // bytes, peak
}

func (c *crowdResult) ratio() float64 { return median(c.Crowded) / median(c.Alone) }

// crowd measures in one lab, alternately with and without a connected crowd.
func (b *benchmark) crowd(ctx context.Context, dir string) (*crowdResult, error) {
	t := &tunnel{dir: dir, lab: b.lab}
	defer t.close()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := t.stepvpnServer(ctx, 2*b.clients, ""); err != nil {
		return nil, err
	}
	keys := filepath.Join(dir, "crowd.keys")
	out, err := server.run("bin/bench", "crowd", "-make", fmt.Sprint(b.clients), "-keys", keys)
	if err != nil {
		return nil, err
	}
	if err := appendTo(filepath.Join(dir, "server", "clients"), out); err != nil {
		return nil, err
	}
	t.server.stop()
	if err := t.startServer(stepvpn, "server", filepath.Join(dir, "server", "server.toml")); err != nil {
		return nil, err
	}
	if err := t.server.logged(ctx, "server is up"); err != nil {
		return nil, err
	}
	if err := t.stepvpnClient(ctx); err != nil {
		return nil, err
	}
	key, err := identity.LoadServerKey(filepath.Join(dir, "server", "server.key"))
	if err != nil {
		return nil, err
	}
	r := &crowdResult{Clients: b.clients}
	for range b.rounds {
		rate, _, err := b.traffic.tcp(t.addr)
		if err != nil {
			return nil, err
		}
		r.Alone = append(r.Alone, rate)
		crowd, err := bob.talk("bin/bench", "crowd", "-keys", keys, "-server", b.lab.server+":5555", "-server-key", noise.FormatKey(key.Public()))
		if err != nil {
			return nil, err
		}
		answer, err := crowd.ask("connect")
		if err != nil {
			return nil, err
		}
		var perSecond float64
		if _, err := fmt.Sscan(answer, &perSecond); err != nil {
			crowd.stop()
			return nil, fmt.Errorf("the crowd says %q", answer)
		}
		r.HandshakesPerSecond = append(r.HandshakesPerSecond, perSecond)
		rate, _, err = b.traffic.tcp(t.addr)
		crowd.stop()
		if err != nil {
			return nil, err
		}
		r.Crowded = append(r.Crowded, rate)
		fmt.Printf("crowd: %.0f handshakes/s; %.2f Gbit/s alone, %.2f with %d connected\n",
			perSecond, r.Alone[len(r.Alone)-1]/1e9, rate/1e9, b.clients)
	}
	r.ServerMemory, err = t.server.peak()
	return r, err
}

var crowdCommand = app.Command{
	Name:  "crowd",
	About: "Connects many clients to a server and keeps them connected. It waits for a line of input, and then prints how many have connected per second.",
	Setup: func() func(context.Context, []string) error {
		n := flag.Int("make", 0, "only make the keys of `N` clients, and print the lines for the server's registry")
		keys := flag.String("keys", "crowd.keys", "`file` with the clients' private keys")
		addr := flag.String("server", "", "the server's `HOST:PORT`")
		serverKey := flag.String("server-key", "", "the server's public `key`")
		return func(ctx context.Context, _ []string) error {
			if *n > 0 {
				return makeKeys(*keys, *n)
			}
			key, err := identity.ParseKey(*serverKey)
			if err != nil {
				return err
			}
			return connectAll(ctx, *keys, *addr, key)
		}
	},
}

func makeKeys(file string, n int) error {
	var private strings.Builder
	for i := range n {
		key := noise.GenerateKey()
		fmt.Fprintln(&private, noise.FormatKey(key))
		fmt.Printf("crowd%d %s\n", i, noise.FormatKey(key.Public()))
	}
	return os.WriteFile(file, []byte(private.String()), 0o600)
}

// connectAll connects all clients in the file, a few at a time, and reads the packets that
// they receive until ctx ends.
func connectAll(ctx context.Context, file, addr string, server noise.PublicKey) error {
	const atOnce = 50
	slog.SetDefault(slog.New(slog.DiscardHandler))
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	bufio.NewScanner(os.Stdin).Scan()
	var drops link.Drops
	var mu sync.Mutex
	var sessions []*join.Session
	var failed error
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	begin := time.Now()
	for line := range strings.Lines(string(text)) {
		key, err := identity.ParseKey(strings.TrimSpace(line))
		if err != nil {
			return err
		}
		places <- struct{}{}
		all.Go(func() {
			s, err := connectOne(ctx, addr, noise.PrivateKey(key), server, &drops)
			mu.Lock()
			defer mu.Unlock()
			sessions, failed = append(sessions, s), errors.Join(failed, err)
			<-places
		})
	}
	all.Wait()
	if failed != nil {
		return failed
	}
	fmt.Println(float64(len(sessions)) / time.Since(begin).Seconds())
	for _, s := range sessions {
		all.Go(func() {
			for b := link.NewBurst(); s.ReadBurst(b) == nil; {
			}
		})
	}
	<-ctx.Done()
	for _, s := range sessions {
		all.Go(func() { s.Close() })
	}
	all.Wait()
	return nil
}

func connectOne(ctx context.Context, addr string, key noise.PrivateKey, server noise.PublicKey, drops *link.Drops) (*join.Session, error) {
	conn, err := transport.Dial(transport.UDP, addr, transport.Options{Drops: drops})
	if err != nil {
		return nil, err
	}
	p := identity.Profile{PrivateKey: key, ServerKey: server}
	return join.Client(ctx, cookie.Client(conn, server, drops), join.Config{Handshake: p.Handshake(), Drops: drops})
}
