package wireguard

import (
	"testing"

	"go.uber.org/goleak"
)

// The tests that need a network are in the folder stock, so that these here are quick.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
