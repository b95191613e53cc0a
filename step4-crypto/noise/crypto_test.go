package noise

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// This file runs the published vectors of each building block, by the calls
// that the package itself makes.

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// dh is what mixSecret does for "ee" and its kin.
func dh(t testing.TB, private, public []byte) []byte {
	t.Helper()
	secret, err := PrivateKey(private).ecdh().ECDH(PublicKey(public).ecdh())
	require.NoError(t, err)
	return secret
}

func TestX25519(t *testing.T) {
	// RFC 7748, section 5.2.
	for _, v := range []struct{ scalar, u, out string }{
		{
			"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
			"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
			"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
		},
		{
			"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
			"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
			"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
		},
	} {
		require.Equal(t, v.out, hex.EncodeToString(dh(t, unhex(t, v.scalar), unhex(t, v.u))))
	}

	// RFC 7748, section 5.2, iterated. The third, of 1,000,000 rounds, would take minutes.
	k := make([]byte, 32)
	k[0] = 9
	u := bytes.Clone(k)
	for i := range 1000 {
		k, u = dh(t, k, u), k
		if i == 0 {
			require.Equal(t, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079", hex.EncodeToString(k))
		}
	}
	require.Equal(t, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51", hex.EncodeToString(k))

	// RFC 7748, section 6.1.
	alice := PrivateKey(unhex(t, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
	bob := PrivateKey(unhex(t, "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
	alicePublic, bobPublic := alice.Public(), bob.Public()
	require.Equal(t, "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", hex.EncodeToString(alicePublic[:]))
	require.Equal(t, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", hex.EncodeToString(bobPublic[:]))
	const shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
	require.Equal(t, shared, hex.EncodeToString(dh(t, alice[:], bobPublic[:])))
	require.Equal(t, shared, hex.EncodeToString(dh(t, bob[:], alicePublic[:])))
}

func TestGenerateKey(t *testing.T) {
	a, b := GenerateKey(), GenerateKey()
	require.NotEqual(t, a, b)
	require.NotEqual(t, PrivateKey{}, a)
}

// count returns the bytes from first on, n of them.
func count(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func TestHKDF(t *testing.T) {
	// RFC 5869, appendix A, test cases 1 to 3. Suite.hkdf calls hkdf.Key, with
	// the chaining key as salt and without info.
	for i, v := range []struct {
		ikm, salt, info []byte
		prk, okm        string
	}{
		{
			bytes.Repeat([]byte{0x0b}, 22), count(0, 13), count(0xf0, 10),
			"077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
			"3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
		},
		{
			count(0, 80), count(0x60, 80), count(0xb0, 80),
			"06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
			"b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09" +
				"da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
		},
		{
			bytes.Repeat([]byte{0x0b}, 22), nil, nil,
			"19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
			"8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
		},
	} {
		prk, err := hkdf.Extract(AESGCMSHA256.newHash, v.ikm, v.salt)
		require.NoError(t, err)
		require.Equal(t, v.prk, hex.EncodeToString(prk), "PRK of case %d", i+1)
		okm, err := hkdf.Key(AESGCMSHA256.newHash, v.ikm, v.salt, string(v.info), len(v.okm)/2)
		require.NoError(t, err)
		require.Equal(t, v.okm, hex.EncodeToString(okm), "OKM of case %d", i+1)
	}

	// Case 3 through Suite.hkdf itself: no salt is the same as a salt of 32 zero
	// bytes (RFC 5869, section 2.2), and 42 bytes are the start of two outputs.
	var out1, out2 [32]byte
	AESGCMSHA256.hkdf([32]byte{}, bytes.Repeat([]byte{0x0b}, 22), &out1, &out2)
	require.Equal(t, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
		hex.EncodeToString(append(out1[:], out2[:]...)[:42]))
}

// TestHKDFAsInNoise writes section 4.3 out, for both hashes.
func TestHKDFAsInNoise(t *testing.T) {
	for _, suite := range suites {
		mac := func(key []byte, data ...byte) []byte {
			m := hmac.New(suite.newHash, key)
			m.Write(data)
			return m.Sum(nil)
		}
		ck, input := [32]byte(count(1, 32)), count(100, 32)
		tempKey := mac(ck[:], input...)
		want1 := mac(tempKey, 1)
		want2 := mac(tempKey, append(bytes.Clone(want1), 2)...)
		want3 := mac(tempKey, append(bytes.Clone(want2), 3)...)

		var out1, out2, out3 [32]byte
		suite.hkdf(ck, input, &out1, &out2)
		require.Equal(t, [][]byte{want1, want2}, [][]byte{out1[:], out2[:]}, suite.name)
		out1, out2 = [32]byte{}, [32]byte{}
		suite.hkdf(ck, input, &out1, &out2, &out3)
		require.Equal(t, [][]byte{want1, want2, want3}, [][]byte{out1[:], out2[:], out3[:]}, suite.name)
	}
}

func TestHashes(t *testing.T) {
	for _, v := range []struct {
		suite Suite
		out   string
	}{
		{AESGCMSHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},      // FIPS 180-4, example "abc"
		{ChaChaPolyBLAKE2s, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"}, // RFC 7693, appendix B
	} {
		s := symmetricState{suite: v.suite}
		sum := s.hash([]byte("a"), []byte("bc"))
		require.Equal(t, v.out, hex.EncodeToString(sum[:]))
	}
	require.Equal(t, sha256.Size, KeyLen)
	require.Equal(t, blake2s.Size, KeyLen)
}

func testAEAD(t *testing.T, aead cipher.AEAD, nonce, ad, plaintext, ciphertext []byte) {
	t.Helper()
	require.Equal(t, hex.EncodeToString(ciphertext), hex.EncodeToString(aead.Seal(nil, nonce, plaintext, ad)))
	opened, err := aead.Open(nil, nonce, ciphertext, ad)
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(plaintext), hex.EncodeToString(opened))
}

func TestAESGCM(t *testing.T) {
	// The GCM specification by McGrew and Viega, as submitted to NIST, appendix B:
	// the test cases with a 256-bit key and a 96-bit IV.
	const (
		key    = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
		plain  = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
		cipher = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
	)
	zero := strings.Repeat("00", 32)
	for i, v := range []struct{ key, iv, ad, plaintext, ciphertext, tag string }{
		{zero, zero[:24], "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		{zero, zero[:24], "", zero[:32], "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
		{key, "cafebabefacedbaddecaf888", "", plain + "1aafd255", cipher + "898015ad", "b094dac5d93471bdec1a502270e3cc6c"},
		{key, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2", plain, cipher, "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		t.Logf("test case %d", 13+i)
		aead, err := AESGCMSHA256.newAEAD(unhex(t, v.key))
		require.NoError(t, err)
		testAEAD(t, aead, unhex(t, v.iv), unhex(t, v.ad), unhex(t, v.plaintext), unhex(t, v.ciphertext+v.tag))
	}

	// Test case 14 through Cipher: an IV of zeros is counter 0.
	c := newCipher(AESGCMSHA256, &[32]byte{})
	require.Equal(t, unhex(t, "cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919"), c.Seal(nil, 0, nil, make([]byte, 16)))
}

func TestChaCha20Poly1305(t *testing.T) {
	// RFC 8439, section 2.8.2. The nonce there starts with 7, which no Cipher makes.
	aead, err := ChaChaPolyBLAKE2s.newAEAD(count(0x80, chacha20poly1305.KeySize))
	require.NoError(t, err)
	testAEAD(t, aead, unhex(t, "07000000 4041424344454647"), unhex(t, "50515253c0c1c2c3c4c5c6c7"),
		[]byte("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."),
		unhex(t, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"+
			"1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"+
			"3ff4def08e4b7a9de576d26586cec64b6116 1ae10b594f09e26a7e902ecbd0600691"))
}
