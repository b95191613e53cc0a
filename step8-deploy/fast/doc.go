// Package fast opens the two ends of a tunnel: the fast ones that are made here, or
// the simple ones that steps 2 and 3 made (ends.go). Whatever lies between the ends
// does not know which they are. Introduced in step 8. Linux only.
//
// The fast ends let the kernel do the work that is the same for every packet: a TUN
// device and a UDP socket, behind the same contract as the simple ones (package link).
//
// What costs time in a tunnel is not the encryption, it is the system calls and
// the kernel's work for each packet. So both ends carry up to 64 packets a call:
//
//	device ─ read ─> one TCP packet of up to 64 KB (TSO)     tun_linux.go
//	                 segmented, one packet after another     segment.go
//	                 (sealed by the layer between)
//	socket <─ send ─ up to 64 datagrams in one call (GSO)    udpsend_linux.go
//
//	socket ─ recv ─> up to 64 datagrams in one call (GRO)    udprecv_linux.go
//	                 (opened by the layer between)
//	                 neighbours of one flow are coalesced    coalesce.go
//	device <─ write  one TCP packet of up to 64 KB           tunwrite_linux.go
//
// UDP through the tunnel goes the same way where the kernel can (USO, Linux 6.2).
// The kernel also hands over packets without their checksum, as to a network card
// that fills it in: checksum.go does. Between the host and the device stands a
// header that says all this: vnet.go.
//
// Besides, the socket does what a server and a client on the move need: it answers
// from the address that was asked (sources.go), it brings congestion marks into
// the tunnel and out of it (class.go), and a client's goes on from another
// address when the host's has gone (roam_linux.go).
//
// One goroutine a direction does everything, there are no queues and no pools,
// and the steady state allocates nothing. How it enters the kernel: call_linux.go.
//
// Segmenting is lazy. Each segment's header is written just in front of its payload,
// over the end of the segment before, when the layer between asks for it; that has
// sealed the one before into the burst that goes out. So the packets of a TUN's burst
// are to be taken one after another, by who makes others of them: neither a TUN nor a
// UDP takes such a burst itself.
//
// What goes through is the same as with the simple ends, byte by byte: segment.go
// does what the kernel's own segmentation does, and only packets are coalesced that
// segmenting would give back just as they were. So packets with IP options, with
// extension headers, fragments, or with a wrong checksum pass one by one.
//
// Every offload can be left out, and is given up, with a line in the log, when
// the kernel refuses it (EIO, EINVAL). What it refused is sent again without. The
// socket tries again later: there, a stranger can have made the kernel refuse it.
//
// Not covered: packets of several flows that come mixed are not sorted before
// they are coalesced; TCP segments with CWR (so also AccECN's) are not; the
// path's MTU is not looked for; io_uring, AF_XDP and IPv6 jumbograms.
package fast
