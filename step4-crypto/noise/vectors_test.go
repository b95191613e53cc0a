package noise

import (
	"bufio"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Patterns that only the vectors use. That they pass shows that the core
// interprets patterns and knows none of them by name: they have keys known
// beforehand on either side, public keys in the clear, one, two and three
// messages, and a pre-shared key at each place.
var (
	patternNN     = Pattern{name: "NN", messages: [][]token{{"e"}, {"e", "ee"}}}
	morePatterns  = []Pattern{patternNN, patternX, patternNK, patternKK, patternIX, patternXX, patternNNpsk2, patternKKpsk1, patternXXpsk3}
	patternX      = Pattern{name: "X", preResponder: []token{"s"}, messages: [][]token{{"e", "es", "s", "ss"}}}
	patternNK     = Pattern{name: "NK", preResponder: []token{"s"}, messages: [][]token{{"e", "es"}, {"e", "ee"}}}
	patternKK     = Pattern{name: "KK", preInitiator: []token{"s"}, preResponder: []token{"s"}, messages: [][]token{{"e", "es", "ss"}, {"e", "ee", "se"}}}
	patternIX     = Pattern{name: "IX", messages: [][]token{{"e", "s"}, {"e", "ee", "se", "s", "es"}}}
	patternXX     = Pattern{name: "XX", messages: [][]token{{"e"}, {"e", "ee", "s", "es"}, {"s", "se"}}}
	patternNNpsk2 = Pattern{name: "NNpsk2", messages: [][]token{{"e"}, {"e", "ee", "psk"}}}
	patternKKpsk1 = Pattern{name: "KKpsk1", preInitiator: []token{"s"}, preResponder: []token{"s"}, messages: [][]token{{"e", "es", "ss", "psk"}, {"e", "ee", "se"}}}
	patternXXpsk3 = Pattern{name: "XXpsk3", messages: [][]token{{"e"}, {"e", "ee", "s", "es"}, {"s", "se", "psk"}}}
)

// A vector is one published handshake, with transport messages after it.
type vector struct {
	name               string // such as Noise_IK_25519_AESGCM_SHA256
	prologue           string
	staticI, staticR   string
	ephemeralI         string
	ephemeralR         string
	psk                string
	payloads, messages []string
}

// run replays a vector and reports whether its protocol is one of ours.
func (v vector) run(t *testing.T) bool {
	t.Helper()
	for _, suite := range suites {
		for _, pattern := range append(patterns, morePatterns...) {
			if v.name == "Noise_"+pattern.name+"_"+suite.name {
				v.replay(t, suite, pattern)
				return true
			}
		}
	}
	return false
}

func (v vector) replay(t *testing.T, suite Suite, pattern Pattern) {
	t.Helper()
	cfgI, cfgR := configs(suite, pattern)
	cfgI.Prologue = unhex(t, v.prologue)
	cfgR.Prologue = cfgI.Prologue
	key := func(s string) [KeyLen]byte { return [KeyLen]byte(unhex(t, s)) }
	if pattern.usesPSK() {
		k := key(v.psk)
		cfgI.PSK, cfgR.PSK = &k, &k
	}
	if cfgI.Static != nil {
		k := PrivateKey(key(v.staticI))
		cfgI.Static = &k
	}
	if cfgR.Static != nil {
		k := PrivateKey(key(v.staticR))
		cfgR.Static = &k
	}
	if cfgI.PeerStatic != nil {
		public := cfgR.Static.Public()
		cfgI.PeerStatic = &public
	}
	if cfgR.PeerStatic != nil {
		public := cfgI.Static.Public()
		cfgR.PeerStatic = &public
	}
	hI, hR := begin(t, cfgI), begin(t, cfgR)
	hI.generate = func() PrivateKey { return key(v.ephemeralI) }
	hR.generate = func() PrivateKey { return key(v.ephemeralR) }

	var send, receive [2]*Cipher // by initiator and by responder
	writer, reader := hI, hR
	for i, want := range v.messages {
		payload := unhex(t, v.payloads[i])
		if n := i - len(pattern.messages); n < 0 {
			message, err := writer.WriteMessage(nil, payload)
			require.NoError(t, err)
			require.Equal(t, want, hex.EncodeToString(message), "%s, message %d", v.name, i)
			got, err := reader.ReadMessage(nil, message)
			require.NoError(t, err)
			require.Equal(t, v.payloads[i], hex.EncodeToString(got), "%s, message %d", v.name, i)
			writer, reader = reader, writer
		} else {
			if n == 0 {
				var err error
				send[0], receive[0], err = hI.Split()
				require.NoError(t, err)
				send[1], receive[1], err = hR.Split()
				require.NoError(t, err)
			}
			from := n % 2 // the initiator begins
			counter := uint64(n / 2)
			sealed := send[from].Seal(nil, counter, nil, payload)
			require.Equal(t, want, hex.EncodeToString(sealed), "%s, message %d", v.name, i)
			got, err := receive[1-from].Open(nil, counter, nil, sealed)
			require.NoError(t, err)
			require.Equal(t, v.payloads[i], hex.EncodeToString(got), "%s, message %d", v.name, i)
		}
	}
	require.Greater(t, len(v.messages), len(pattern.messages), "%s has no transport message", v.name)
}

// TestCacophonyVectors runs the vectors of cacophony, a Haskell implementation
// (vectors/cacophony.txt in github.com/haskell-cryptography/cacophony), for the
// protocols of this package. Other implementations check against them too.
func TestCacophonyVectors(t *testing.T) {
	for name, messages := range map[string][]string{
		"Noise_NNpsk0_25519_AESGCM_SHA256": {
			"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79447c37a89fc17813788d30df2d59501d6066f5f8aecc3406bbd9829f2d24a531b1",
			"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088432f29d79368ef9de4e1ae7a362fb05bf0ad668e026bf5714554497b3a720461",
			"7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6",
			"a9ff535aace3db6a1da1a7fb00fe2de2622bb373abad9fb42c00e0",
			"6cfc49a3e65472edc2d0152abe5ce950170a8a47c959f30bd48b5f0aacf29adbfd",
			"9bc86e6d974ed21ba04604a94aa68de21677eb409ead070c0cd569b069ee19ba142aa4c1a9",
		},
		"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s": {
			"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944fda936bec35a8adfdff198386f7d5475880897edaaf7495314c99095a2e4d66a",
			"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088434cd2a371993ba41ea11448024fca32766b169183c9e691a7a433279da7e729",
			"bc44da303ae0beb08075fc4eb4e58235c67c2d1f53a4f2fff0bca7",
			"416d1af83e9fa6966ce4e871156b131aa9bd7e9a1d6f8794f4872a",
			"8a7d81b77bcc6c072f2b807da066efba6b5fab9edf71a7faceb2c8454b0cfef608",
			"1e2ee010f72894824a25a867664ff298f2548a145dc4e9d27b1cad83f32fa7c54d69dc3279",
		},
		"Noise_IK_25519_AESGCM_SHA256": {
			"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444e417bc55c7a8166c993356c1be41ef67818a292426f301556c7f26b21d25ddb" +
				"097153891a9a956cff47b83e63ad8d701c1342c209cff1ca5ecd43402762ac249e3bd3a4c0a145fe07cb5dae28ea13a3",
			"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843af2ccf9972e22afc67aeafcd25162f7f98c363b7762e3e4cb7d272e39f27a5",
			"66acfc92e3197de166809e6d4d5d003dcc819a84bc3522ca53c9d9",
			"71f89aa6533a6de70b0826864dd75f60806ee40170c16290189eb3",
			"4795a3423550c8bf00386bd496a3e2c76c10669d2a75ab8f79b5094c5412a25705",
			"aa0bb39097555c918e40be82abc2b909eb79d9eb87adb07e268fc37323a6cf904fd01fb391",
		},
		"Noise_IK_25519_ChaChaPoly_BLAKE2s": {
			"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d06a1b23b71670e32e76c28239a7ca4ac8f784de7e44c1adb" +
				"fc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4eca690f6d896f543be02c996ab2b86b76",
			"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac9655ef76833bc7e5561f42e691ac8404efd6fbd6308b6a27c",
			"2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b",
			"d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3",
			"a9c068ca5d8babf72560652d8e851adbfac35c8a66e810d560863173e96adf4cfe",
			"2a09d8f459e5927e40fdd2eddc99bdafb04e13a26f145cb5cfe9e6ba34c94331ebc17d5156",
		},
		"Noise_IKpsk2_25519_AESGCM_SHA256": {
			"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79445a1baf339186d7867062b0dd31f5de322d370165d217939b2b7ed9e2bae78404" +
				"58ea65c2ce1554e0e8077fe7334c4bd514c658fd04d97b86d216f58f59714a7e24144155045c8f36bed85a2cb0fd9af7",
			"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088432fe8d675e949799d2a968211a66cc7ba2b0f4cad8eda3c2bd37eae737bbf88",
			"38cbf3835c78b7802df0dd0d9640ff8575debd0cb61cfb52590da1",
			"ffc365ff6955fc66c5d809b31ac995f812c5770bd29f0df12f0ffd",
			"a7f2828174c4ead2491ffeb77c41c890fd1229ee36f23ccb9066a795daff1cad6b",
			"3b86963d5c0e6e3b4153d77153836606393eefc4e5e6dae97796552d1265839ee3825cb80c",
		},
		"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s": {
			"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf" +
				"1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f",
			"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a",
			"8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
			"07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
			"6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d",
			"dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
		},
	} {
		v := vector{
			name:       name,
			prologue:   "4a6f686e2047616c74",
			staticI:    "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
			staticR:    "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
			ephemeralI: "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
			ephemeralR: "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
			psk:        "54686973206973206d7920417573747269616e20706572737065637469766521",
			payloads: []string{
				"4c756477696720766f6e204d69736573", "4d757272617920526f746862617264", "462e20412e20486179656b",
				"4361726c204d656e676572", "4a65616e2d426170746973746520536179", "457567656e2042f6686d20766f6e2042617765726b",
			},
			messages: messages,
		}
		require.True(t, v.run(t), name)
	}
}

// TestFlynnVectors runs the vectors that come with github.com/flynn/noise, from
// the copy of that module which the build uses.
func TestFlynnVectors(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/flynn/noise").Output()
	require.NoError(t, err, "go list")
	file, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "vectors.txt"))
	require.NoError(t, err)
	defer file.Close()

	ran := make(map[string]int)
	for _, v := range readVectors(t, file) {
		if v.run(t) {
			ran[v.name]++
		}
	}
	// Each comes four times: with and without prologue, with and without payloads.
	for _, suite := range suites {
		for _, pattern := range append(patterns, morePatterns...) {
			require.Equal(t, 4, ran["Noise_"+pattern.name+"_"+suite.name], pattern.name)
		}
	}
}

// readVectors parses lines of "name=value"; a handshake line begins a vector.
func readVectors(t *testing.T, r io.Reader) (vectors []vector) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if name == "handshake" {
			vectors = append(vectors, vector{name: value})
		}
		if len(vectors) == 0 {
			continue
		}
		v := &vectors[len(vectors)-1]
		switch {
		case name == "prologue":
			v.prologue = value
		case name == "init_static":
			v.staticI = value
		case name == "resp_static":
			v.staticR = value
		case name == "gen_init_ephemeral":
			v.ephemeralI = value
		case name == "gen_resp_ephemeral":
			v.ephemeralR = value
		case name == "preshared_key":
			v.psk = value
		case strings.HasSuffix(name, "_payload"):
			v.payloads = append(v.payloads, value)
		case strings.HasSuffix(name, "_ciphertext"):
			v.messages = append(v.messages, value)
		}
	}
	require.NoError(t, lines.Err())
	return vectors
}
