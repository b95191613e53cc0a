module stepvpn/step2-tun

go 1.26.0

require (
	github.com/songgao/water v0.0.0-20200317203138-2b4b6d7c09d8
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.49.0
	stepvpn/shared v0.0.0
)

require github.com/vishvananda/netns v0.0.5 // indirect

replace stepvpn/shared => ../shared
