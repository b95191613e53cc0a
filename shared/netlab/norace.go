//go:build !race

package netlab

// raceEnabled: see race.go.
const raceEnabled = false
