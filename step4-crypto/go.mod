module stepvpn/step4-crypto

go 1.26.0

require (
	golang.org/x/crypto v0.58.0
	stepvpn/shared v0.0.0
	stepvpn/step2-tun v0.0.0
	stepvpn/step3-tunnel v0.0.0
)

require golang.org/x/sys v0.49.0 // indirect

replace (
	stepvpn/shared => ../shared
	stepvpn/step2-tun => ../step2-tun
	stepvpn/step3-tunnel => ../step3-tunnel
)
