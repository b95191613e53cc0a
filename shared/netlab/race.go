//go:build race

package netlab

// raceEnabled says whether the tests are built with -race; their programs are, too, then.
const raceEnabled = true
