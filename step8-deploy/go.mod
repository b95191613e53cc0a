module stepvpn/step8-deploy

go 1.26.0

replace (
	stepvpn/shared => ../shared
	stepvpn/step2-tun => ../step2-tun
	stepvpn/step3-tunnel => ../step3-tunnel
	stepvpn/step4-crypto => ../step4-crypto
	stepvpn/step5-nat => ../step5-nat
	stepvpn/step6-dns => ../step6-dns
	stepvpn/step7-auth => ../step7-auth
)
