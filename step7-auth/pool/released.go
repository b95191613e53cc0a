package pool

// released is a heap (container/heap) of leases. The first one was released
// before the others.
type released []*lease

func (r released) Len() int { return len(r) }

func (r released) Less(i, j int) bool {
	if r[i].since.Equal(r[j].since) {
		return r[i].addr.Less(r[j].addr)
	}
	return r[i].since.Before(r[j].since)
}

func (r released) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].place, r[j].place = i, j
}

func (r *released) Push(x any) {
	l := x.(*lease)
	l.place = len(*r)
	*r = append(*r, l)
}

func (r *released) Pop() any {
	last := len(*r) - 1
	l := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	l.place = -1
	return l
}
