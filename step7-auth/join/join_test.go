package join

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"stepvpn/shared/link"
	"stepvpn/step4-crypto/noise"
	"stepvpn/step4-crypto/secure"
	"stepvpn/step7-auth/protocol"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

// A server that answers by hand. It may be as hostile as it likes: it has the
// server's key.
type server struct {
	answer func() []byte // the payload of the next response
	conn   *secure.Conn
	logins chan protocol.Login
	hellos chan protocol.Hello
}

func start(t *testing.T, answer func() []byte) (*server, link.Link, Config) {
	key, client := noise.GenerateKey(), noise.GenerateKey()
	public := key.Public()
	a, b := link.Pipe(1024)
	s := &server{answer: answer, logins: make(chan protocol.Login, 100), hellos: make(chan protocol.Hello, 100)}
	var err error
	s.conn, err = secure.Server(b, secure.Config{
		Handshake:  noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &key},
		NewPayload: func() []byte { return s.answer() },
		OnPayload: func(p []byte) error {
			h, err := protocol.ParseHello(p)
			s.hellos <- h
			return err
		},
		OnControl: func(kind byte, content []byte) error {
			l, err := protocol.ParseLogin(content)
			if kind == protocol.KindLogin && err == nil {
				s.logins <- l
			}
			return nil
		},
		Drops: new(link.Drops),
	})
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.conn.ReadUntil(func() bool { return false })
	}()
	t.Cleanup(func() {
		s.conn.Close()
		<-done
	})
	return s, a, Config{
		Handshake: noise.Config{Suite: noise.AESGCMSHA256, Pattern: noise.IK, Static: &client, PeerStatic: &public},
		Drops:     new(link.Drops),
	}
}

func welcomeOf(addr string, login bool, settings string) []byte {
	m, err := protocol.Welcome{Login: login, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, Settings: []byte(settings)}.Append(nil)
	if err != nil {
		panic(err)
	}
	return m
}

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lower, cfg := start(t, func() []byte { return welcomeOf("10.8.0.2/24", false, "s") })
		session, err := Client(t.Context(), lower, cfg)
		require.NoError(t, err)
		require.Equal(t, "10.8.0.2/24", session.Addrs[0].String())
		require.Equal(t, "s", string(session.Settings))
		go session.ReadUntil(func() bool { return false })

		time.Sleep(10 * time.Minute)
		last := protocol.Hello{}
		for range len(s.hellos) {
			h := <-s.hellos
			require.True(t, last.Instance == 0 || h.Instance == last.Instance)
			last = h
		}
		require.NotZero(t, last.Instance)
		require.NoError(t, session.Close())
		require.NoError(t, session.Close())
	})
}

// A hostile server's answer ends the attempt with one harmless line.
func TestHostileAnswer(t *testing.T) {
	for answer, want := range map[string]string{
		"":                      "connecting: the server's answer is refused: protocol: malformed message",
		"\x01":                  "connecting: the server's answer is refused: protocol: the other side speaks another version",
		"\x02\x00\x00":          "connecting: the server's answer is refused: protocol: 0 addresses: a client has 1 to 4",
		"\x02\x03\x1b[2Jgotcha": "connecting: the server's answer is refused: protocol: malformed message",
	} {
		synctest.Test(t, func(t *testing.T) {
			_, lower, cfg := start(t, func() []byte { return []byte(answer) })
			_, err := Client(t.Context(), lower, cfg)
			require.EqualError(t, err, want)
		})
	}
}

// When the server hands out something else at a rekey, the session ends: packets
// from a wrong address would get lost without a word.
func TestChanged(t *testing.T) {
	for want, then := range map[string][]byte{
		"the server now hands out other addresses ([10.8.0.3/24] instead of [10.8.0.2/24]): connect again": welcomeOf("10.8.0.3/24", false, "s"),
		"the server now hands out other settings: connect again":                                           welcomeOf("10.8.0.2/24", false, "t"),
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			_, lower, cfg := start(t, func() []byte {
				if n++; n > 1 {
					return then
				}
				return welcomeOf("10.8.0.2/24", false, "s")
			})
			session, err := Client(t.Context(), lower, cfg)
			require.NoError(t, err)
			defer session.Close()
			before := time.Now()
			err = session.ReadUntil(func() bool { return false })
			require.ErrorContains(t, err, want)
			require.InDelta(t, 120, time.Since(before).Seconds(), 1)
			require.ErrorAs(t, err, new(*Changed), "it says of which kind it is")
		})
	}
}

// A login is said until it is answered; an answer to another one counts nothing.
func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lower, cfg := start(t, func() []byte { return welcomeOf("10.8.0.2/24", true, "") })
		cfg.User, cfg.Password = "alice", "secret"
		go func() {
			l := <-s.logins
			s.conn.Control(9, []byte("of a later version"))
			s.conn.Control(protocol.KindResult, protocol.Result{Attempt: l.Attempt + 1, Refused: &secure.Rejected{Reason: "old"}}.Append(nil))
			<-s.logins
			l = <-s.logins
			s.conn.Control(protocol.KindResult, protocol.Result{Attempt: l.Attempt}.Append(nil))
		}()
		before := time.Now()
		session, err := Client(t.Context(), lower, cfg)
		require.NoError(t, err)
		require.Equal(t, 2*loginRetry, time.Since(before))
		require.Empty(t, s.logins)
		// Once it is in, nothing that the server says about logins matters.
		s.conn.Control(protocol.KindResult, protocol.Result{Attempt: 1, Refused: &secure.Rejected{Reason: "late"}}.Append(nil))
		go session.ReadUntil(func() bool { return false })
		synctest.Wait()
		require.NotZero(t, session.Status())
		session.Close()
	})
}

func TestLoginFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lower, cfg := start(t, func() []byte { return welcomeOf("10.8.0.2/24", true, "") })
		cfg.User, cfg.Password = "alice", "secret"
		go func() {
			<-s.logins
			s.conn.Control(protocol.KindResult, []byte("\x01\x03\x1b[2J"))
		}()
		_, err := Client(t.Context(), lower, cfg)
		require.EqualError(t, err, "logging in: the server's answer to the login: protocol: malformed message")

		_, lower, cfg = start(t, func() []byte { return welcomeOf("10.8.0.2/24", true, "") })
		cfg.User, cfg.Password = "alice", "secret"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = Client(ctx, lower, cfg)
		require.ErrorContains(t, err, "logging in: the server has not answered")
	})
}
