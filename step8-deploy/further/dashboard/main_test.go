package dashboard

import (
	"testing"

	"go.uber.org/goleak"
)

// The tests that need a browser and a network are in the folder page, so that these here are quick.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
