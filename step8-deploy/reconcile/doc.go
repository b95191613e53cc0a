// Package reconcile compares what this host should have with what it has, and puts right the
// difference: policy rules (rules.go), routes (routes.go), a device (device.go), and nft
// tables (tables.go). Introduced in step 8.
//
// Steps 5 and 6 carry out a list of changes once. But other programs change the host, too:
// systemd-networkd removes rules that are not its own, and a firewall is often loaded from a
// file that begins with "flush ruleset".
//
// This package does not decide what the host should have, nor when to look. Packages takeover
// (for a client) and uplink (for a server) do that.
//
// All functions act in the network namespace of the thread that they run on.
package reconcile
