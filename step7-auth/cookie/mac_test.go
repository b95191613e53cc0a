package cookie

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachCodeIsOfOneMessage(t *testing.T) {
	h := mac1Of(serverKey())
	one := h.sum([]byte("one"))
	require.NotEqual(t, one, h.sum([]byte("two")))
	require.Equal(t, one, h.sum([]byte("one")), "the same message again")
	require.Equal(t, one, mac1Of(serverKey()).sum([]byte("one")), "the same key again")
}
