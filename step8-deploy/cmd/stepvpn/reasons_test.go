package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/link"
)

// OPERATING.md lists each reason for which this program drops packets, and no others.
func TestReasonsAreListed(t *testing.T) {
	page, err := os.ReadFile("../../OPERATING.md")
	require.NoError(t, err)
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllSubmatch(page, -1) {
		listed = append(listed, string(row[1]))
	}
	require.ElementsMatch(t, link.Reasons(), listed)
}
