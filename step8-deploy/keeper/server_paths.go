package keeper

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"stepvpn/step8-deploy/pathmtu"
	"stepvpn/step8-deploy/privsep"
)

// bound has the server's kernel send clients packets no longer than their paths carry. The
// worker has measured that (package pathmtu).
func (s *Server) bound(parse func(any) error) (r privsep.Result, err error) {
	var list []pathmtu.Bound
	if err := parse(&list); err != nil {
		return r, err
	}
	if len(list) > maxBounds {
		return r, fmt.Errorf("%d paths at once are too many", len(list))
	}
	for _, b := range list {
		if !s.isClients(b.Client) || s.isOwn(b.Client) {
			return r, fmt.Errorf("%v is not the address of a client", b.Client)
		}
	}
	var errs []error
	for _, b := range list {
		errs = append(errs, s.paths.Set(b.Client, b.Size))
	}
	return r, errors.Join(errs...)
}

// maxBounds is the largest number of bounds in one request.
const maxBounds = 1024

func (s *Server) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Subnets, func(n netip.Prefix) bool { return n.Addr() == a })
}
