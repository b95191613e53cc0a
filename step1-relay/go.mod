module stepvpn/step1-relay

go 1.26.0

require stepvpn/shared v0.0.0

replace stepvpn/shared => ../shared
