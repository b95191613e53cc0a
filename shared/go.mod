module stepvpn/shared

go 1.26.0

