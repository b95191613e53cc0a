package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatistics(t *testing.T) {
	require.True(t, math.IsNaN(median(nil)))
	require.Equal(t, 2.0, median([]float64{9, 1, 2}))
	require.Equal(t, 3.0, median([]float64{9, 1, 2, 4}))
	require.Equal(t, 4.0, mean([]float64{9, 1, 2, 4}))
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	require.Equal(t, 99.0, percentile(hundred, 0.99))
	require.Equal(t, 1.0, percentile([]float64{1}, 0.99))
}

// someResults returns results in which step 8 is twice as fast as wireguard-go, without
// OpenVPN.
func someResults() *results {
	r := newResults()
	r.Rounds, r.Congestion, r.Host = 3, "cubic", "a machine with < 3 processors"
	r.Contenders = []string{"plain wire", "wireguard-go", "OpenVPN", "step 8"}
	r.Missing["OpenVPN"] = "there is no openvpn"
	for _, v := range []float64{1e9, 2e9, 9e9} {
		r.add("wireguard-go", "tcp-up", v)
		r.add("step 8", "tcp-up", 2*v)
	}
	r.add("plain wire", "tcp-up", 10e9)
	r.add("wireguard-go", "cpu", 5e-9)
	r.add("step 8", "cpu", 3e-9)
	r.add("step 8", "memory-server", 15e6)
	return r
}

func TestTable(t *testing.T) {
	var out strings.Builder
	someResults().write(&out)
	require.Equal(t, `
Medians of 3 rounds. Congestion control of TCP: cubic.
                                         plain wire wireguard-go       step 8
TCP to the server               Gbit/s        10.00         2.00         4.00
CPU time per GB, both ends           s            -         5.00         3.00
peak memory of the server           MB            -            -         15.0
OpenVPN is missing: there is no openvpn

Step 8                                        reached at least      aim
TCP to the server / wireguard-go                 2.00     1.70     2.50  met
CPU time per GB, both ends / wireguard-go        0.60     0.55     0.40  missed
peak memory of the server, MB                   15.00    24.00    16.00  aim reached
`, out.String())
}

// The chart is XML, and has a bar for each median.
func TestChart(t *testing.T) {
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(string(someResults().chart()))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	require.Equal(t, 1+3+2+1, bars, "the background, and the bars")
}

func TestChoose(t *testing.T) {
	all := []string{"a b", "c"}
	list, err := choose("-x", "", all)
	require.NoError(t, err)
	require.Equal(t, all, list)
	list, err = choose("-x", "c", all)
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, list)
	_, err = choose("-x", "c,d", all)
	require.EqualError(t, err, `-x: there is no "d"; there are a b, c`)
}
