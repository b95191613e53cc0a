package page_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/shared/soak"
)

// tabTo presses Tab until the focus is on what a selector finds. Wherever the focus is on the way, a person
// sees it.
func (w *world) tabTo(t *testing.T, selector string) {
	t.Helper()
	for range 60 {
		is, err := w.Run(fmt.Sprintf("document.activeElement.matches(%q)", selector))
		require.NoError(t, err)
		if is == "true" {
			return
		}
		require.NoError(t, w.Key("Tab"))
		seen, err := w.Run(`{
			const e = document.activeElement, look = getComputedStyle(e), at = e.getBoundingClientRect()
			e === document.body || parseFloat(look.outlineWidth) >= 2 && look.outlineStyle !== "none" && at.left >= 0 && at.width > 0 ? "" : e.outerHTML
		}`)
		require.NoError(t, err)
		require.Empty(t, seen, "the focus is here, and nobody sees it")
	}
	t.Fatalf("the Tab key does not lead to %s", selector)
}

// A person who has a keyboard only, and whose browser runs no scripts, logs in, adds a client, limits it, and
// revokes it.
func TestKeyboardWithoutScripts(t *testing.T) {
	if !soak.On() {
		t.Skip("it takes long; 'make soak' has it, and TestFormsWithoutScripts sends the same forms in 'make test'")
	}
	w := begin(t)
	require.NoError(t, w.Scripts(false))
	require.NoError(t, w.Open(at+"/"))
	w.tabTo(t, "#password")
	require.NoError(t, w.Write(w.secret.Password))
	w.tabTo(t, "#code")
	require.NoError(t, w.Write(w.code(t)))
	w.tabTo(t, "main button")
	require.NoError(t, w.Submit())
	require.Equal(t, "Overview", w.text(t, "h1"))
	script, err := w.Run(`document.documentElement.className + document.querySelectorAll("canvas").length`)
	require.NoError(t, err)
	require.Equal(t, "0", script, "the page's scripts run: this test shows nothing")

	w.tabTo(t, ".skip")
	w.tabTo(t, `nav a[href="/add"]`)
	require.NoError(t, w.Submit())
	w.tabTo(t, "#name")
	require.NoError(t, w.Write("tablet"))
	w.tabTo(t, "main button")
	require.NoError(t, w.Submit())
	require.Equal(t, "tablet is added", w.text(t, "h1"))
	require.Contains(t, scanned(t, w), "PrivateKey = ")
	w.tabTo(t, "summary")
	w.tabTo(t, `a[href="/clients/tablet"]`)
	require.NoError(t, w.Submit())

	w.tabTo(t, "#down")
	require.NoError(t, w.Write("5Mbit/s"))
	w.tabTo(t, "#quota")
	require.NoError(t, w.Write("1GB/month"))
	require.NoError(t, w.Submit())
	require.Equal(t, "The limits are changed.", w.text(t, ".said"))
	require.Contains(t, w.text(t, "#limits"), "0 B of 1.0 GB")

	w.tabTo(t, ".danger")
	require.NoError(t, w.Submit())
	w.tabTo(t, ".danger")
	require.NoError(t, w.Submit())
	require.Contains(t, w.text(t, "tbody"), "There is no client yet.")
	w.tabTo(t, "header button")
	require.NoError(t, w.Submit())
	require.Equal(t, "Log in", w.text(t, "h1"))
	require.Empty(t, withoutStatus(w.Problems()))
}
