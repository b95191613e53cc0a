package noise

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeysAsText(t *testing.T) {
	key := GenerateKey()
	text := FormatKey(key)
	require.Equal(t, base64.StdEncoding.EncodeToString(key[:]), text)
	got, err := ParseKey[PrivateKey](text)
	require.NoError(t, err)
	require.Equal(t, key, got)

	good := FormatKey(PublicKey(bytes.Repeat([]byte{7}, KeyLen)))
	for text, want := range map[string]string{
		"":                             "0 bytes, a key has 32",
		good[:40]:                      "30 bytes, a key has 32",
		good + good:                    "not a key in base64", // padding in the middle
		good[:43]:                      "not a key in base64",
		good[:42] + "B=":               "not a key in base64", // another spelling
		good + "\n":                    "not a key in base64",
		good[:20] + "\r\n" + good[20:]: "not a key in base64",
		" " + good:                     "not a key in base64",
		good[:42] + "-=":               "not a key in base64",
	} {
		_, err := ParseKey[PublicKey](text)
		require.EqualError(t, err, want, "%q", text)
	}
}
