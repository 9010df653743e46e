package appliance

import (
	"github.com/mailweir/mailweir/appliance/leases"
	"github.com/mailweir/mailweir/appliance/radius"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Sources are those who say whose an address is, and how they stand.
func (s *source) Sources() webadmin.Sources {
	a, cfg, known := s.a, s.a.cfg.Load(), s.a.who.Stats()
	v := webadmin.Sources{
		List:     webadmin.ListSource{File: cfg.SubscribersPath(), Subscribers: a.who.Table().Len()},
		Leases:   []webadmin.LeaseSource{},
		Bindings: webadmin.BindingCounts{RADIUS: known.BySource[subscriber.RADIUS], Leases: known.BySource[subscriber.Lease], API: known.BySource[subscriber.API], Unknown: known.Unknown},
	}
	if why := a.listRefused.Load(); why != nil {
		v.List.Refused = *why
	}
	if heard, on := a.lines.heard(); on {
		v.RADIUS = radiusView(heard)
		v.RADIUS.Unlisted = known.MadeUp
	}
	for _, f := range a.lines.files() {
		v.Leases = append(v.Leases, webadmin.LeaseSource{Path: f.Path, Format: f.Format.String(), Read: webadmin.At(f.Read), Leases: f.Leases, BadLines: f.BadLines, FirstBad: f.FirstBad, Problem: f.Problem})
	}
	for _, u := range leases.Usual {
		v.UsualLeases = append(v.UsualLeases, webadmin.LeaseFile{Path: u.Path, Format: u.Format.String()})
	}
	return v
}

// radiusView is what became of the accounting that was heard.
func radiusView(heard radius.Stats) *webadmin.RADIUSSource {
	v := &webadmin.RADIUSSource{Last: webadmin.At(heard.Last), Taken: int64(heard.Handled), NotWanted: int64(heard.NotForUs), Failed: int64(heard.Failed), Repeated: int64(heard.Repeated),
		Lost: int64(heard.Lost), Ignored: map[string]int64{}}
	for why, n := range heard.Ignored {
		if reason := radius.Reason(why); reason != radius.None && n > 0 {
			v.Ignored[reason.String()] = int64(n)
		}
	}
	return v
}
