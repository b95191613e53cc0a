package illustrated

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step2-tun/pcap"
)

// Two programs of others judge the page: tshark the frames, and Chromium everything else.

// tshark finds each field of a kernel's headers, and of a data message's, where the page has
// it, with the same bytes, and all checksums right.
func TestTshark(t *testing.T) {
	page := New(runStep4(t), runStep8(t))
	var frames []Frame
	for _, c := range page.Chapters {
		frames = append(append(frames, c.Ping...), c.Handshake.Frames...)
	}
	require.Len(t, frames, 7)

	wire := filepath.Join(t.TempDir(), "wire.pcap")
	writePcap(t, wire, frames)
	seen := dissect(t, wire)
	require.Len(t, seen, len(frames))
	compared := 0
	for i, f := range frames {
		compared += agree(t, f, f.Layers, seen[i], 0)
		for _, l := range f.Layers {
			if l.Name != "encrypted" || !strings.HasPrefix(f.ID, "ping") {
				continue
			}
			inside := filepath.Join(t.TempDir(), "inside.pcap")
			w, err := pcap.Create(inside)
			require.NoError(t, err)
			require.NoError(t, w.Write(when, l.Plaintext))
			require.NoError(t, w.Close())
			compared += agree(t, f, l.Inside, dissect(t, inside)[0], l.Fields[0].At)
		}
	}
	t.Logf("tshark agrees on %d fields", compared)
	require.Greater(t, compared, 150)

	// The detector: a frame in which one bit is different.
	broken := frames[0]
	broken.Bytes = bytes.Clone(broken.Bytes)
	broken.Bytes[headersLen-1] ^= 1 // the UDP checksum
	writePcap(t, wire, []Frame{broken})
	require.Error(t, disagreement(broken, broken.Layers, dissect(t, wire)[0], 0))
}

func agree(t *testing.T, f Frame, layers []Layer, seen []pdmlField, base int) int {
	t.Helper()
	require.NoError(t, disagreement(f, layers, seen, base))
	n := 0
	for _, l := range layers {
		for _, field := range l.Fields {
			if field.Tshark != "" {
				n++
				continue
			}
			// What tshark doesn't know is ours.
			require.NotContains(t, []string{"ethernet", "ip", "udp", "icmp"}, l.Kind, "%s: %s", f.ID, field.Name)
		}
	}
	return n
}

// disagreement returns where tshark and the page differ.
func disagreement(f Frame, layers []Layer, seen []pdmlField, base int) error {
	var want []Field
	for _, l := range layers {
		for _, field := range l.Fields {
			// tshark has ciphertext and tag as one field.
			if n := len(want); n > 0 && field.Tshark != "" && want[n-1].Tshark == field.Tshark {
				want[n-1].Bytes = append(bytes.Clone(want[n-1].Bytes), field.Bytes...)
				continue
			}
			want = append(want, field)
		}
	}
	for _, w := range want {
		if w.Tshark == "" {
			continue
		}
		found := false
		var near []pdmlField
		for _, s := range seen {
			if s.Name != w.Tshark {
				continue
			}
			near = append(near, s)
			value := s.Value
			if s.Unmasked != "" {
				value = s.Unmasked
			}
			if value == "" && s.Name == "wg.encrypted_packet" { // it says only where that is
				value = hex.EncodeToString(w.Bytes)
			}
			found = found || s.Pos == w.At-base && s.Size == len(w.Bytes) && value == hex.EncodeToString(w.Bytes)
		}
		if !found {
			return fmt.Errorf("%s: %s (%s) at %d: %x; tshark has %+v", f.ID, w.Name, w.Tshark, w.At-base, w.Bytes, near)
		}
	}
	for _, s := range seen {
		if strings.HasSuffix(s.Name, ".checksum.status") && s.Show != "1" {
			return fmt.Errorf("%s: %s is %s, not 1 (good)", f.ID, s.Name, s.Show)
		}
	}
	return nil
}

// A pdmlField is a field of tshark's PDML, with those in it.
type pdmlField struct {
	Name     string      `xml:"name,attr"`
	Pos      int         `xml:"pos,attr"`
	Size     int         `xml:"size,attr"`
	Show     string      `xml:"show,attr"`
	Value    string      `xml:"value,attr"`
	Unmasked string      `xml:"unmaskedvalue,attr"`
	Fields   []pdmlField `xml:"field"`
}

// dissect returns what tshark finds in each packet of a file.
func dissect(t *testing.T, file string) (packets [][]pdmlField) {
	t.Helper()
	out, err := exec.Command("tshark", "-r", file, "-T", "pdml", "-d", "udp.port==5555,wg",
		"-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE").Output()
	require.NoError(t, err, "tshark is a judge here; 'make test' installs it")
	var pdml struct {
		Packets []struct {
			Protos []pdmlField `xml:"proto"`
		} `xml:"packet"`
	}
	require.NoError(t, xml.Unmarshal(out, &pdml))
	for _, p := range pdml.Packets {
		packets = append(packets, flat(p.Protos))
	}
	return packets
}

func flat(fields []pdmlField) (all []pdmlField) {
	for _, f := range fields {
		all = append(append(all, f), flat(f.Fields)...)
	}
	return all
}

// writePcap writes Ethernet frames. (Package pcap writes IP packets.)
func writePcap(t *testing.T, file string, frames []Frame) {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i, f := range frames {
		for _, n := range []int{int(when.Unix()), i, len(f.Bytes), len(f.Bytes)} {
			b = binary.LittleEndian.AppendUint32(b, uint32(n))
		}
		b = append(b, f.Bytes...)
	}
	require.NoError(t, os.WriteFile(file, b, 0o600))
}

// Chromium calculates each value of the page anew, by the snippets that stand beside them.
func TestChromium(t *testing.T) {
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	html := load(t, string(page), "check")
	snippets := strings.Count(html, `class="run"`)
	require.Greater(t, snippets, 130)
	require.Equal(t, fmt.Sprint(snippets), attribute(t, html, "checked"))
	require.Empty(t, attribute(t, html, "wrong"))

	// The detector: one byte of the key for the packets is another one.
	value := regexp.MustCompile(`("nn\.key_alice": ")([0-9a-f]{2})`)
	require.True(t, value.MatchString(string(page)))
	html = load(t, value.ReplaceAllString(string(page), "${1}00"), "check")
	wrong := strings.Fields(attribute(t, html, "wrong"))
	require.Subset(t, wrong, []string{"ping4-58", "ping4-154"}, "ciphertext and tag")
	for _, w := range wrong {
		require.Contains(t, w, "ping4-", "and nothing else")
	}
}

// Whoever touches a byte sees what it is, on a wide screen and on a phone: the explanation is
// in sight, and nothing is wider than the screen.
func TestTouch(t *testing.T) {
	page, err := os.ReadFile(file)
	require.NoError(t, err)
	const touch = `<script>
		const byte = document.querySelector("#ping8 .field:nth-child(5) b")
		byte.scrollIntoView({ block: innerWidth < 600 ? "end" : "center" }) // "end": where a phone shows the explanation
		setTimeout(() => {
			byte.click()
			const note = document.querySelector("#ping8 .note.on"), r = note.getBoundingClientRect()
			document.documentElement.dataset.note = note.id
			document.documentElement.dataset.seen = r.height > 40 && r.top >= 0 && r.top + 40 < innerHeight && r.left >= 0 && r.right <= innerWidth
			const b = byte.getBoundingClientRect()
			document.documentElement.dataset.covered = document.elementFromPoint(b.left + b.width / 2, b.top + b.height / 2) !== byte
			document.documentElement.dataset.wide = document.documentElement.scrollWidth > innerWidth
			document.querySelector("#ping8 [data-view=inside]").click()
			document.documentElement.dataset.inside = document.querySelector("#ping8 .note.on h5").textContent
		}, 500)
	</script></body>`
	for _, size := range []string{"1280,900", "500,900"} {
		html := load(t, strings.Replace(string(page), "</body>", touch, 1), "", "--window-size="+size)
		require.Equal(t, "ping8-15", attribute(t, html, "note"), size)
		require.Equal(t, "true", attribute(t, html, "seen"), size)
		require.Equal(t, "false", attribute(t, html, "covered"), size)
		require.Equal(t, "false", attribute(t, html, "wide"), size)
		require.Equal(t, "version, header length", attribute(t, html, "inside"), size)
	}
}

// load returns what a page has become in headless Chromium.
func load(t *testing.T, page, fragment string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "page.html")
	require.NoError(t, os.WriteFile(name, []byte(page), 0o600))
	u := url.URL{Scheme: "file", Path: name, Fragment: fragment}
	// Without a sandbox, which root can't have: the page is our own. /dev/shm is small in containers.
	cmd := exec.CommandContext(t.Context(), "chromium", append(args, "--headless", "--no-sandbox", "--disable-gpu", "--no-zygote", "--disable-dev-shm-usage",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--virtual-time-budget=60000", "--dump-dom", u.String())...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir)
	out, err := cmd.Output()
	require.NoError(t, err, "Chromium is a judge here; 'make test' installs it")
	return string(out)
}

// attribute returns a data attribute of the page's root.
func attribute(t *testing.T, html, name string) string {
	t.Helper()
	m := regexp.MustCompile(`<html [^>]*\bdata-` + name + `="([^"]*)"`).FindStringSubmatch(html)
	require.NotNil(t, m, "the page has not set data-%s; it begins: %.300s", name, html)
	return m[1]
}
