module stepvpn/step8-deploy

go 1.26.0

require (
	filippo.io/age v1.3.2
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/miekg/dns v1.1.73
	github.com/pelletier/go-toml/v2 v2.4.3
	github.com/prometheus/common v0.67.5
	github.com/stretchr/testify v1.12.1
	github.com/urfave/cli/v3 v3.14.0
	github.com/vishvananda/netlink v1.3.1
	go.uber.org/goleak v1.3.0
	golang.org/x/crypto v0.58.0
	golang.org/x/net v0.60.0
	golang.org/x/sys v0.49.0
	rsc.io/qr v0.2.0
	stepvpn/shared v0.0.0
	stepvpn/step2-tun v0.0.0
	stepvpn/step3-tunnel v0.0.0
	stepvpn/step4-crypto v0.0.0
	stepvpn/step5-nat v0.0.0
	stepvpn/step6-dns v0.0.0
	stepvpn/step7-auth v0.0.0-00010101000000-000000000000
)

require (
	filippo.io/hpke v0.4.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.2 // indirect
	github.com/songgao/water v0.0.0-20200317203138-2b4b6d7c09d8 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	go.yaml.in/yaml/v2 v2.4.3 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.25.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)

replace (
	stepvpn/shared => ../shared
	stepvpn/step2-tun => ../step2-tun
	stepvpn/step3-tunnel => ../step3-tunnel
	stepvpn/step4-crypto => ../step4-crypto
	stepvpn/step5-nat => ../step5-nat
	stepvpn/step6-dns => ../step6-dns
	stepvpn/step7-auth => ../step7-auth
)
