package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/step3-tunnel/tunnel"
	"stepvpn/step8-deploy/config"
)

// As many clients as may be there at the same time can come at the same time, over TCP
// and from behind one NAT.
func TestAllClientsCanComeAtOnceOverTCP(t *testing.T) {
	const clients = 250
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := free.Addr().(*net.TCPAddr).AddrPort()
	require.NoError(t, free.Close())
	cfg := &config.Server{Transports: []string{"tcp"}, Listen: []netip.AddrPort{at}, MaxClients: clients, Queues: 1}
	conns, _, _, err := listen(cfg, new(tunnel.Counters))
	require.NoError(t, err)
	defer closeAll(conns)
	arrived := make(chan bool, 1)
	go func() {
		b := link.NewBurst()
		for conns[0].ReadBurst(b) == nil {
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
