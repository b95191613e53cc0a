package secure

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
	"stepvpn/shared/link/linktest"
)

// A keeper notes what it is told of peers.
type keeper struct {
	link.Link
	told [][2]netip.AddrPort
}

func (k *keeper) PeerMoved(before, now netip.AddrPort) {
	k.told = append(k.told, [2]netip.AddrPort{before, now})
}

// The Link below hears whose connection to keep: that of a peer that has proven who it
// is, and of no other.
func TestTheLinkBelowHearsWhereThePeerIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(linktest.Network)
		end := clientEnd(n)
		k := &keeper{Link: serverEnd(n)}
		var initiation []byte
		n.Tap(func(_, to netip.AddrPort, m []byte) bool {
			if to == serverAddr && initiation == nil {
				initiation = append([]byte(nil), m...)
			}
			return true
		})
		client, server, _ := pair(t, end, k, config(1), config(1))
		fromServer := readAll(client)
		none := netip.AddrPort{}
		require.Equal(t, [][2]netip.AddrPort{{none, aliceAddr}}, k.told)

		// A copy of the first message, and noise, prove nothing.
		n.Inject(bobAddr, serverAddr, initiation)
		n.Inject(bobAddr, serverAddr, []byte{4, 0, 0, 0})
		synctest.Wait()
		require.Len(t, k.told, 1)

		end.Move(bobAddr)
		write(t, client, ipPacket("here I am"), ipPacket("still"))
		synctest.Wait()
		require.Equal(t, [2]netip.AddrPort{aliceAddr, bobAddr}, k.told[1])
		client.Close()
		<-fromServer.done
		synctest.Wait()
		require.Equal(t, [2]netip.AddrPort{bobAddr, none}, k.told[2])
		require.Len(t, k.told, 3)
		server.Close()
	})
}

// It also learns that a peer has vanished without closing its session: its keys have ended.
func TestTheLinkBelowHearsThatThePeerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(linktest.Network)
		k := &keeper{Link: serverEnd(n)}
		end := clientEnd(n)
		client, server, _ := pair(t, end, k, config(1), config(1))
		fromServer := readAll(client)
		end.Close() // it is never heard again
		require.Eventually(t, func() bool { return server.Status().Since.IsZero() }, 2*rejectAfterTime, rejectAfterTime/10)
		require.Equal(t, [][2]netip.AddrPort{{{}, aliceAddr}, {aliceAddr, {}}}, k.told)
		client.Close()
		<-fromServer.done
		server.Close()
	})
}
