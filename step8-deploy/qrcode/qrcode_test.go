package qrcode

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scanned returns what somebody else's program reads in a picture.
func scanned(t *testing.T, picture []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(name, picture, 0o600))
	out, err := exec.Command("zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", name).Output()
	require.NoError(t, err, "zbarimg reads no code (shared/lab/setup.sh zbarimg installs it)")
	return strings.TrimSuffix(string(out), "\n")
}

// photographed returns a picture of what a terminal shows that has these colours, which differ
// from those that are set.
func photographed(t *testing.T, shown string) []byte {
	t.Helper()
	const background, pixels = 0x80, 6
	escape := regexp.MustCompile("\x1b\\[[0-9;]*m")
	lines := strings.Split(strings.TrimSuffix(shown, "\n"), "\n")
	width := 0
	for _, line := range lines {
		width = max(width, len([]rune(escape.ReplaceAllString(line, ""))))
	}
	img := image.NewGray(image.Rect(0, 0, (width+10)*pixels, (2*len(lines)+10)*pixels))
	for i := range img.Pix {
		img.Pix[i] = background
	}
	module := func(x, y int, c color.Gray) {
		for dy := range pixels {
			for dx := range pixels {
				img.SetGray((5+x)*pixels+dx, (5+y)*pixels+dy, c)
			}
		}
	}
	for row, line := range lines {
		require.True(t, strings.HasPrefix(line, "\x1b[30;47m") && strings.HasSuffix(line, "\x1b[0m"), "each line sets its colours")
		black, white := color.Gray{0}, color.Gray{0xff}
		for x, char := range []rune(escape.ReplaceAllString(line, "")) {
			colours, known := map[rune][2]color.Gray{' ': {white, white}, '▀': {black, white}, '▄': {white, black}, '█': {black, black}}[char]
			require.True(t, known, "%q", char)
			module(x, 2*row, colours[0])
			module(x, 2*row+1, colours[1])
		}
	}
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

// A camera reads the text from the picture and from a terminal, whatever its size.
func TestScanned(t *testing.T) {
	for _, text := range []string{
		"x", "[Interface]\nPrivateKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n",
		strings.Repeat("Endpoint = vpn.example.org:5555\n", 13), strings.Repeat("0123456789, ", 100),
	} {
		c, err := New(text)
		require.NoError(t, err)
		require.Equal(t, text, scanned(t, c.PNG()), "in the picture")
		require.Equal(t, text, scanned(t, photographed(t, c.Terminal())), "on the terminal")
		line, _, _ := strings.Cut(c.Terminal(), "\n")
		require.Equal(t, c.Columns(), len([]rune(line))-len("\x1b[30;47m\x1b[0m"))
	}
	_, err := New(strings.Repeat("x", 2953))
	require.NoError(t, err)
	_, err = New(strings.Repeat("x", 2954))
	require.EqualError(t, err, "a text of 2954 bytes does not fit into a QR code: text too long to encode as QR")
}

// The judge reads nothing where half of the modules are wrong: the test above could fail.
func TestJudgeSeesAMistake(t *testing.T) {
	c, err := New("x")
	require.NoError(t, err)
	broken := strings.ReplaceAll(c.Terminal(), "▀", "█")
	name := filepath.Join(t.TempDir(), "a.png")
	require.NoError(t, os.WriteFile(name, photographed(t, broken), 0o600))
	require.Error(t, exec.Command("zbarimg", "--quiet", "--raw", name).Run())
}
