package stock_test

import (
	"testing"

	"stepvpn/shared/netlab"
)

func TestMain(m *testing.M) { netlab.MainInShards(m, 3, "../../../cmd/stepvpn", "../cmd/wgping") }
