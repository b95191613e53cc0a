package main

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/fast"
	"stepvpn/step8-deploy/keeper"
	"stepvpn/step8-deploy/liveness"
)

// All clients that the server has room for can connect at the same time, over TCP and from
// behind one NAT.
func TestAllClientsCanComeAtOnceOverTCP(t *testing.T) {
	const clients = 250
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := free.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, free.Close())
	sockets, err := fast.Bind("tcp", at, 1)
	require.NoError(t, err)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) // it stands in for a device
	require.NoError(t, err)
	defer unix.Close(fds[1])
	given := &keeper.Handover{Clients: [][]syscall.Conn{sockets}, Queues: fds[:1]}
	given.Server = &config.Server{MaxClients: clients}
	queues, err := queuesOf(given, new(tunnel.Counters), new(liveness.Monitor))
	require.NoError(t, err)
	defer closeQueues(queues)
	arrived := make(chan bool, 1)
	go func() {
		b := link.NewBurst()
		for queues[0].Socket.ReadBurst(b) == nil {
			arrived <- true
		}
	}()
	var all []net.Conn
	for range clients {
		c, err := net.Dial("tcp", at.String())
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte{0, 4, 3, 0, 0, 0})
		require.NoError(t, err)
		select {
		case <-arrived:
		case <-time.After(20 * time.Second):
			require.FailNow(t, "nothing arrived")
		}
		all = append(all, c)
	}
	for i, c := range all {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		require.True(t, errors.Is(err, os.ErrDeadlineExceeded), "connection %d was closed: %v", i, err)
	}
}
