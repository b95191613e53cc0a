module stepvpn/step3-tunnel

go 1.26.0

require (
	golang.org/x/sys v0.49.0
	stepvpn/shared v0.0.0
)

replace (
	stepvpn/shared => ../shared
	stepvpn/step2-tun => ../step2-tun
)
