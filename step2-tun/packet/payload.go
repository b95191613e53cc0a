package packet

// readPayload reads the header that the payload begins with: that of TCP, UDP, ICMP or
// ICMPv6. Payloads of other protocols, and later fragments, have none that we know.
func (k *Packet) readPayload(payload []byte) (err error) {
	if k.Fragment.Offset > 0 {
		return nil // from the middle of a payload
	}
	// If more fragments follow, this first one holds only the beginning of the payload:
	// then it is no fault that the length in the payload's header goes beyond it.
	whole := !k.Fragment.More
	switch {
	case k.Protocol == ProtoTCP:
		k.TCP, err = readTCP(payload, whole)
	case k.Protocol == ProtoUDP:
		k.UDP, err = readUDP(payload, whole)
	case k.Protocol == ProtoICMP && k.Version == 4:
		k.ICMP, err = readICMP(payload)
	case k.Protocol == ProtoICMPv6 && k.Version == 6:
		k.ICMP, err = readICMPv6(payload)
	}
	return err
}
