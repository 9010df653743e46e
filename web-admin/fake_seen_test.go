package webadmin

import (
	"fmt"
	"slices"
	"time"
)

func (f *fakeBox) Clusters(p Page) ([]Cluster, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return pageOf(slices.Clone(f.cluster), p.Cursor, p.Limit)
}

func (f *fakeBox) Cluster(id string) (Cluster, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.cluster {
		if c.ID == id {
			return c, true
		}
	}
	return Cluster{}, false
}

func (f *fakeBox) Destinations(window time.Duration, p Page) Destinations {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprint("destinations ", window, " ", p.Limit, p.Cursor))
	d := f.dests
	d.Window, d.From, d.To = Seconds(window), At(noon.Add(-window)), At(noon)
	d.Items, d.Next = pageOf(slices.Clone(d.Items), p.Cursor, p.Limit)
	return d
}

func (f *fakeBox) OffersGone(p Page) ([]OfferGone, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return pageOf(slices.Clone(f.gone), p.Cursor, p.Limit)
}

// Share has a point for each step, of which every third has no session.
func (f *fakeBox) Share(q ShareQuery) (points []SharePoint, next time.Time, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprint("share ", q.Step, " ", q.To.Sub(q.From)))
	if f.slow != nil {
		f.mu.Unlock()
		<-f.slow
		f.mu.Lock()
	}
	if len(f.subs) == 0 { // it was just flashed
		return nil, time.Time{}, f.broken
	}
	for at, n := q.From.UTC().Truncate(q.Step), 0; at.Before(q.To); at, n = at.Add(q.Step), n+1 {
		if len(points) == q.Limit {
			return points, at, f.broken
		}
		if n%3 < 2 {
			points = append(points, SharePoint{Start: At(at), StartTLS: Counted{Sessions: 3, Bytes: 500}, Clear: Counted{Sessions: 1}, Encrypted: 0.75})
		}
	}
	return points, time.Time{}, f.broken
}
