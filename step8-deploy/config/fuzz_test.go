package config

import (
	"bytes"
	"testing"
)

// Whatever a file contains, it is either loaded, or refused with a message of bounded length.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{shortServer, shortClient, "a.b = 1\n[x]\n[[y]]\nz = {a = [1]}", "kind = \"server\"\nmtu = [[1], 2]\nlisten = [\n1,\n{a=2}]",
		"kind = \"client\"\nserver = \"\"\"\na\nb\"\"\"", "\"\" = 1", "kind.x = 1", "kind = \"server\"\nkind = \"client\""} {
		f.Add([]byte(s))
	}
	for _, name := range []string{"templates/server.toml", "templates/client.toml"} {
		text, err := files.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		for _, kind := range []string{"", KindServer, KindClient} {
			d := parse("F", text)
			if len(d.problems) == 0 || d.values != nil {
				d.checkKind(kind)
			}
			var err error
			switch {
			case d.values == nil || d.values["kind"] == nil:
				err = d.failed()
				if err == nil {
					t.Fatal("no settings and no error")
				}
			case d.values["kind"] == KindServer:
				_, err = server(d)
			default:
				_, err = client(d, 0o600)
			}
			if err != nil && len(err.Error()) > 2000*(maxShown+1) {
				t.Fatalf("a message of %d bytes", len(err.Error()))
			}
		}
		if !bytes.Equal(before, text) {
			t.Fatal("the input was changed")
		}
	})
}
