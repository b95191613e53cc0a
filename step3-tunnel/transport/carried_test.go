package transport

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// A socket's packets can go by another Link. All else stays: address, MTU, and
// how errors are counted.
func TestUDPCarriedByAnotherLink(t *testing.T) {
	var drops link.Drops
	ours, _ := link.Pipe(1)
	o := Options{Drops: &drops, UDP: func(socket *net.UDPConn, passing func(error) bool) (link.Link, error) {
		socket.Close()
		require.True(t, passing(syscall.EHOSTUNREACH))
		require.False(t, passing(net.ErrClosed))
		return ours, nil
	}}
	plain := Options{Drops: new(link.Drops)}

	server, err := Listen(UDP, "127.0.0.1:0", plain)
	require.NoError(t, err)
	defer server.Close()
	client, err := Dial(UDP, server.Addr().String(), o)
	require.NoError(t, err)
	require.Equal(t, server.Addr(), client.Addr())
	same, err := Dial(UDP, server.Addr().String(), plain)
	require.NoError(t, err)
	defer same.Close()
	require.Equal(t, same.MTU(), client.MTU())
	fast, err := Listen(UDP, "127.0.0.1:0", o)
	require.NoError(t, err)
	require.True(t, fast.Addr().IsValid())
	require.Equal(t, server.MTU(), fast.MTU())
	require.Equal(t, "unreachable 2", drops.String())
	require.NoError(t, fast.Close())
	require.ErrorIs(t, client.ReadBurst(link.NewBurst()), net.ErrClosed)

	o.UDP = func(socket *net.UDPConn, _ func(error) bool) (link.Link, error) {
		socket.Close()
		return nil, errors.New("no")
	}
	_, err = Listen(UDP, "127.0.0.1:0", o)
	require.EqualError(t, err, "no")
	_, err = Dial(UDP, server.Addr().String(), o)
	require.EqualError(t, err, "no")
}
