package keeper

import (
	"context"
	"reflect"
	"slices"
	"time"

	"stepvpn/step8-deploy/uplink"
)

// A Problem is something on the server's host that keeps it from serving clients. The keeper
// tells the worker, which reports its status.
type Problem = uplink.Problem

const (
	eventProblems = "problems"
	checkEvery    = 2 * time.Second
)

// problems lists what keeps this host from serving clients as it should.
func (s *Server) problems() []Problem {
	list := s.Problems()
	if stale := s.stale.Load(); stale != nil {
		list = append(slices.Clip(list), *stale)
	}
	return list
}

// followProblems calls tell with what is wrong with the host, at once and whenever that
// changes.
func (s *Server) followProblems(ctx context.Context, tell func([]Problem)) {
	if s.Problems == nil {
		return
	}
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	told := []Problem{}
	for {
		if now := s.problems(); len(now)+len(told) > 0 && !reflect.DeepEqual(now, told) {
			told = now
			tell(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
