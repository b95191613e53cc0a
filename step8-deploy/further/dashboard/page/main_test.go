package page_test

import (
	"testing"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m, "../../../cmd/stepvpn", "../cmd/stepvpn-web") }
