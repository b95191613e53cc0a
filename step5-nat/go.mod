module stepvpn/step5-nat

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/vishvananda/netlink v1.3.1
	go.uber.org/goleak v1.3.0
	golang.org/x/sys v0.49.0
	stepvpn/shared v0.0.0
	stepvpn/step2-tun v0.0.0
	stepvpn/step3-tunnel v0.0.0
	stepvpn/step4-crypto v0.0.0
)

require (
	github.com/miekg/dns v1.1.73 // indirect
	github.com/songgao/water v0.0.0-20200317203138-2b4b6d7c09d8 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.60.0 // indirect
)

replace (
	stepvpn/shared => ../shared
	stepvpn/step2-tun => ../step2-tun
	stepvpn/step3-tunnel => ../step3-tunnel
	stepvpn/step4-crypto => ../step4-crypto
)
