package step8_test

import (
	"testing"
	"time"
)

func TestTmpServerRestart(t *testing.T) {
	w := newWorld(t)
	w.add(t, "alice")
	server := w.server(t)
	w.client(t)
	w.seenAs(t, w.Server.V4.String())
	const f = "tcp[tcpflags] & tcp-rst != 0 or icmp[0]=3"
	a := w.Web.Start(t, "tcpdump", "-l", "-n", "-i", "any", f)
	b := w.Server.Start(t, "tcpdump", "-l", "-n", "-i", "any", f)
	c := w.Alice.Start(t, "tcpdump", "-l", "-n", "-i", "any", f)
	d := w.download(t)
	defer func() { t.Logf("web\n%s\nserver\n%s\nalice\n%s", a.Log(), b.Log(), c.Log()) }()
	server.Interrupt()
	server.Wait(t)
	time.Sleep(time.Second)
	w.serve(t, w.Server)
	w.seenAs(t, w.Server.V4.String())
	d.goesOn(t, "goes on after a restart of the server")
}
