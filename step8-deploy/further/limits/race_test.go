//go:build race

package limits

// raceDetector tells that this is a -race build. In one, sync.Pool throws away some of what it is
// given.
const raceDetector = true
