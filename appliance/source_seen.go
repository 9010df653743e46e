package appliance

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/clusters"
	"github.com/mailweir/mailweir/appliance/destinations"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/share"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// pageOf is what comes behind the place in the order of all that a cursor names, whether or not anything still stands
// there, at most limit (0: 100). next names the last one's place, and is empty where nothing more comes. place reads a
// cursor; one that is none of ours begins anew.
func pageOf[T any](all []T, p webadmin.Page, compare func(a, b T) int, cursor func(T) string, place func(string) (T, bool)) (some []T, next string) {
	if at, ok := place(p.Cursor); ok {
		all = slices.DeleteFunc(all, func(one T) bool { return compare(one, at) <= 0 })
	}
	if limit := cmp.Or(p.Limit, 100); len(all) > limit {
		return all[:limit], cursor(all[limit-1])
	}
	return all, ""
}

// clusterCursor names the place of a card; clusterPlace reads it.
func clusterCursor(c clusters.Card) string {
	var ended int64
	if !c.Ended.IsZero() {
		ended = c.Ended.UnixNano()
	}
	return fmt.Sprintf("%d-%d-%s", ended, c.Subscribers, c.ID)
}

func clusterPlace(cursor string) (c clusters.Card, ok bool) {
	var ended int64
	if n, err := fmt.Sscanf(cursor, "%d-%d-%s", &ended, &c.Subscribers, &c.ID); n != 3 || err != nil {
		return c, false
	}
	if ended != 0 {
		c.Ended = time.Unix(0, ended)
	}
	return c, true
}

// networkCursor names the place of a network; networkPlace reads it.
func networkCursor(n destinations.Network) string {
	return fmt.Sprintf("%d-%d-%s", n.Sessions, n.Error, n.Prefix)
}

func networkPlace(cursor string) (n destinations.Network, ok bool) {
	var prefix string
	if read, err := fmt.Sscanf(cursor, "%d-%d-%s", &n.Sessions, &n.Error, &prefix); read != 3 || err != nil {
		return n, false
	}
	var err error
	n.Prefix, err = netip.ParsePrefix(prefix)
	return n, err == nil
}

// Clusters are those that go on, and then those that ended.
func (s *source) Clusters(p webadmin.Page) ([]webadmin.Cluster, string) {
	all, next := pageOf(s.a.observer.prints.Cards(), p, clusters.Card.Compare, clusterCursor, clusterPlace)
	out := make([]webadmin.Cluster, len(all))
	for i, c := range all {
		out[i] = s.cluster(c)
	}
	return out, next
}

// Cluster is one of them.
func (s *source) Cluster(id string) (webadmin.Cluster, bool) {
	for _, c := range s.a.observer.prints.Cards() {
		if c.ID == id {
			return s.cluster(c), true
		}
	}
	return webadmin.Cluster{}, false
}

func (s *source) cluster(c clusters.Card) webadmin.Cluster {
	v := webadmin.Cluster{
		ID: c.ID, JA4: c.JA4, JA3: c.JA3, Shuffles: c.Shuffles, LooksLike: string(c.Looks), Began: webadmin.At(c.Began), Last: webadmin.At(c.Last),
		Ended: webadmin.At(c.Ended), EndReason: c.Reason, Count: c.Subscribers, Sessions: c.Sessions, MessagesLo: c.Messages, Networks: c.Networks,
		Bits: c.Bits, Why: c.Why, MayBeWrong: c.MayBeWrong,
	}
	for _, w := range c.Weights {
		v.Weights = append(v.Weights, webadmin.ClusterWeight{Name: w.Name, Bits: w.Bits, Text: w.Words})
	}
	for _, m := range c.Members {
		sub, _ := s.a.who.Table().ByID(m.Subscriber)
		v.Members = append(v.Members, webadmin.ClusterMember{
			Subscriber: m.Subscriber, Name: sub.Name, First: webadmin.At(m.First), Last: webadmin.At(m.Last), Sessions: m.Sessions,
			MessagesLo: m.Messages, Networks: m.Networks, Former: m.Former,
		})
	}
	return v
}

func (o *observer) view() webadmin.Clusters {
	s := o.prints.Stats()
	return webadmin.Clusters{Botnets: s.Botnets, Updates: s.Updates, Learning: s.Learning, Learnt: webadmin.Seconds(s.Learnt), Prints: s.Prints}
}

// clusterRecord is the record of a change of a card.
func clusterRecord(c clusters.Change, now time.Time) records.Entry {
	k := c.Card
	f := records.ClusterFacts{
		Time: now, ID: k.ID, What: c.What, Reason: c.Reason, JA4: k.JA4, Looks: string(k.Looks), Began: k.Began, Subscribers: k.Subscribers,
		Sessions: k.Sessions, Messages: k.Messages, Networks: k.Networks, Bits: k.Bits, Why: k.Why,
	}
	if len(k.JA3) > 0 && !k.Shuffles {
		f.JA3 = k.JA3[0]
	}
	var weights []string
	for _, w := range k.Weights {
		weights = append(weights, fmt.Sprintf("%s=%.1f", w.Name, w.Bits))
	}
	f.Weights = strings.Join(weights, " ")
	for _, m := range k.Members {
		f.Members = append(f.Members, m.Subscriber)
	}
	return records.Cluster(f)
}

// windowOf is the window that is kept for a length of time; the web admin has checked it.
var windowOf = map[time.Duration]destinations.Window{
	5 * time.Minute: destinations.FiveMinutes, time.Hour: destinations.Hour, 24 * time.Hour: destinations.Day,
}

// Destinations are the most contacted networks of a window.
func (s *source) Destinations(window time.Duration, p webadmin.Page) webadmin.Destinations {
	o := s.a.observer
	v := o.dests.Top(windowOf[window], o.now())
	d := webadmin.Destinations{Window: webadmin.Seconds(window), From: webadmin.At(v.From), To: webadmin.At(v.To), Sessions: v.Sessions, Error: v.Error, Owners: webadmin.At(o.names.Built())}
	var some []destinations.Network
	some, d.Next = pageOf(v.Networks, p, destinations.Network.Compare, networkCursor, networkPlace)
	for _, n := range some {
		owner := o.names.Of(n.Prefix.Addr())
		d.Items = append(d.Items, webadmin.Destination{
			Network: n.Prefix.String(), AS: owner.AS, Owner: owner.Name, Sessions: n.Sessions, Error: n.Error, Bytes: n.Bytes,
		})
	}
	return d
}

// goneCursor names the place of an offer that is gone; gonePlace reads it.
func goneCursor(g goneOffer) string { return fmt.Sprintf("%d-%s", g.since.UnixNano(), g.server) }

func gonePlace(cursor string) (g goneOffer, ok bool) {
	since, server, _ := strings.Cut(cursor, "-")
	nanos, err := strconv.ParseInt(since, 10, 64)
	if err != nil {
		return g, false
	}
	g.since = time.Unix(0, nanos)
	g.server, err = netip.ParseAddrPort(server)
	return g, err == nil
}

// OffersGone are the servers that offered STARTTLS and do not any more.
func (s *source) OffersGone(p webadmin.Page) (items []webadmin.OfferGone, next string) {
	some, next := pageOf(s.a.judge.crypt.goneOffers(), p, goneOffer.compare, goneCursor, gonePlace)
	for _, g := range some {
		network := s.a.judge.rules.Load().destination(g.server.Addr())
		owner := s.a.observer.names.Of(g.server.Addr())
		items = append(items, webadmin.OfferGone{Server: g.server.String(), Network: network.String(), AS: owner.AS, Owner: owner.Name, Since: webadmin.At(g.since)})
	}
	return items, next
}

var stepOf = map[time.Duration]share.Step{time.Minute: share.Minute, time.Hour: share.Hour, 24 * time.Hour: share.Day}

// Share is the encrypted share over time.
func (s *source) Share(q webadmin.ShareQuery) (points []webadmin.SharePoint, next time.Time, err error) {
	o := s.a.observer
	all, next, err := o.series.Points(stepOf[q.Step], q.From, q.To, q.Limit, o.now())
	for _, p := range all {
		of := func(k share.Kind) webadmin.Counted {
			return webadmin.Counted{Sessions: p.Sessions[k], Bytes: p.Bytes[k]}
		}
		points = append(points, webadmin.SharePoint{
			Start: webadmin.At(p.Start), Clear: of(share.Clear), StartTLS: of(share.StartTLS), Implicit: of(share.Implicit), Unknown: of(share.Unknown),
			Encrypted: p.Encrypted(),
		})
	}
	return points, next, err
}

// problems are the clusters that look like botnets, for somebody to look at, the largest first.
func (o *observer) problems() (found []webadmin.Problem) {
	for _, k := range o.prints.Cards() {
		if len(found) == maxClusters || !k.Ended.IsZero() || k.Looks != clusters.Botnet {
			continue
		}
		found = append(found, webadmin.Problem{
			What:    fmt.Sprintf("Cluster %s: one rare TLS client on %d subscribers.", k.ID, k.Subscribers),
			Since:   webadmin.At(k.Began),
			Meaning: "Probably one botnet. Nothing is done because of it; each subscriber is judged by its budgets as always.",
			Do:      "Its page has who they are, why, and why it may be wrong. If you know the program, say so there (clusters.known_good: " + k.JA4 + ").",
			Link:    "/clusters/" + k.ID,
			Lines:   true,
		})
	}
	if err := o.names.Err(); err != nil {
		found = append(found, webadmin.Problem{
			What:    "The owners of networks cannot be read: " + err.Error() + ".",
			Meaning: "Names that were known before are still shown. Mail is not affected.",
			Do:      "Put another file in its place, or take destinations.owners_file away.",
		})
	}
	return found
}

// maxClusters is how many are told as problems.
const maxClusters = 5
