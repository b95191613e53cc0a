module stepvpn/step5-nat

go 1.26.0

require (
	github.com/coreos/go-iptables v0.8.0
	github.com/stretchr/testify v1.12.1
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
	stepvpn/shared v0.0.0
	stepvpn/step2-tun v0.0.0
	stepvpn/step3-tunnel v0.0.0
	stepvpn/step4-crypto v0.0.0
)

replace (
	stepvpn/shared => ../shared
	stepvpn/step2-tun => ../step2-tun
	stepvpn/step3-tunnel => ../step3-tunnel
	stepvpn/step4-crypto => ../step4-crypto
)
