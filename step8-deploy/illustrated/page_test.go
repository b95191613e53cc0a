package illustrated

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

const file = "../../illustrated.html"

var update = flag.Bool("update", false, "write the page")

// The page in the course's folder is what the code of today makes of it.
func TestPage(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, New(runStep4(t), runStep8(t)).Write(&b))
	if *update {
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b.Bytes(), got), "illustrated.html is stale. In step8-deploy, type: make illustrated")
}
