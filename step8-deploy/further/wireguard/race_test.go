//go:build race

package wireguard

// raceDetector tells that this is a -race build. In one, sync.Pool throws away
// some of what it is given, so that a data path that reuses a nonce allocates.
const raceDetector = true
