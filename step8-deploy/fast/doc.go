// Package fast opens the two ends of a tunnel: the fast ones of this package, or the simple
// ones of steps 2 and 3 (ends.go). The layers between the ends do not know which they are.
// Introduced in step 8. Linux only.
//
// The fast ends are a TUN device and a UDP socket, with the same contract as the simple ones
// (package link). They let the kernel do work once that is the same for every packet.
//
// Most of a tunnel's time goes not into encryption, but into system calls and the kernel's
// work for each packet. So both ends carry up to 64 packets per call:
//
//	device ─ read ─> one TCP packet of up to 64 KB (TSO)     tunread_linux.go
//	                 segmented, one packet after another     segment.go
//	                 (sealed by the layer between)
//	socket <─ send ─ up to 64 datagrams in one call (GSO)    udpsend_linux.go
//
//	socket ─ recv ─> up to 64 datagrams in one call (GRO)    udprecv_linux.go
//	                 (opened by the layer between)
//	                 neighbours of one flow are coalesced    coalesce.go
//	device <─ write  one TCP packet of up to 64 KB           tunwrite_linux.go
//
// UDP through the tunnel is handled likewise if the kernel supports it (USO, Linux 6.2).
// The kernel also hands over packets without their checksum, as to a network card that
// computes it; checksum.go computes it here. A header before each packet says all this:
// vnet.go.
//
// The socket also does what servers and moving clients need: it answers from the address
// that was asked (sources.go), it carries congestion marks into the tunnel and out of it
// (ecn.go), and a client's socket continues from another address when the host's address
// has gone (roam_linux.go).
//
// One goroutine per direction does everything. There are no queues and no pools, and the
// steady state allocates nothing. call_linux.go makes the system calls.
//
// Segmenting is lazy. When the layer between the ends asks for a segment, its header is
// written just in front of its payload, over the end of the segment before; that layer has
// by then sealed the one before into the burst that goes out. So the packets of a TUN's burst
// must be taken one after another, by a layer that copies or seals each before it takes the
// next: neither a TUN nor a UDP accepts such a burst directly.
//
// The packets are byte for byte the same as with the simple ends: segment.go does what the
// kernel's own segmentation does, and packets are coalesced only if segmenting would give
// them back unchanged. So packets with IP options or extension headers, fragments, and
// packets with a wrong checksum pass one by one.
//
// Every offload can be switched off, and is given up, with a line in the log, when the
// kernel refuses it (EIO, EINVAL). The data that it refused are sent again without. The
// socket tries again later, because a forged ICMP message may have caused the refusal.
//
// Not covered: mixed packets of several flows are not sorted before they are coalesced; TCP
// segments with CWR (and so AccECN's) are not coalesced; this package does not search for
// the path's MTU; io_uring, AF_XDP and IPv6 jumbograms.
package fast
