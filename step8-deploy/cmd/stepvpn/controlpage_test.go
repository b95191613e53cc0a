package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stepvpn/step8-deploy/config"
	"stepvpn/step8-deploy/control"
	"stepvpn/step8-deploy/registrar"
	"stepvpn/step8-deploy/status"
)

// CONTROL.md lists the requests that there are, at the socket at which they are, and the fields of all objects.
func TestControlPage(t *testing.T) {
	text, err := os.ReadFile("../../CONTROL.md")
	require.NoError(t, err)
	page := string(text)

	var want []string
	add := func(socket string, routes []control.Route) {
		for _, r := range routes {
			method, path, _ := strings.Cut(r.Pattern, " ")
			want = append(want, method+" /"+control.Version+path+" "+socket)
		}
	}
	add("status", append(serverRoutes(nil, nil, keyChange{}, nil, newNews()), statusRoute(nil), leasesRoute("")))
	service := registrar.Service{Registrar: registrar.New(new(config.Server), ""), Audit: control.NewAudit("")}
	add("control", service.Routes())
	var got []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`?]*)` \\| (\\w+) \\|").FindAllStringSubmatch(page, -1) {
		got = append(got, m[1]+" "+m[2])
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)

	sections := make(map[string][]string)
	for _, section := range strings.Split(page, "\n### ")[1:] {
		name, rest, _ := strings.Cut(section, "\n")
		for _, m := range regexp.MustCompile(`(?m)^\| ([a-z_]+) \|(.*)$`).FindAllStringSubmatch(rest, -1) {
			if m[2] != " |" || m[1] != "field" { // the table's head
				sections[name] = append(sections[name], m[1])
			}
		}
	}
	for _, object := range []any{status.Report{}, status.Peer{}, status.Flow{}, control.Clients{}, control.Client{}, control.Leases{}, control.Event{}, control.Actor{}, control.About{},
		control.AddRequest{}, control.When{}, control.To{}, control.Password{}, control.Change{}, control.Entries{}, control.Entry{}, control.Error{}} {
		of := reflect.TypeOf(object)
		var fields []string
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			fields = append(fields, name)
		}
		require.Equal(t, fields, sections[of.Name()], of.Name())
		delete(sections, of.Name())
	}
	require.Empty(t, sections)
}
