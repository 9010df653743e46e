package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/clusters"
	"github.com/mailweir/mailweir/appliance/destinations"
	"github.com/mailweir/mailweir/nfq/session"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// TestClustersByPages: each card comes once, in the order of the whole list, also where one that named a place has gone.
func TestClustersByPages(t *testing.T) {
	t.Parallel()
	var all []clusters.Card
	for i := range 23 {
		c := clusters.Card{ID: fmt.Sprint("K", i), Subscribers: 10 + i%3}
		if i%2 == 0 {
			c.Ended = time.Unix(1_800_000_000, int64(i%5))
		}
		all = append(all, c)
	}
	slices.SortFunc(all, clusters.Card.Compare)
	page := func(all []clusters.Card, cursor string, limit int) ([]clusters.Card, string) {
		return pageOf(slices.Clone(all), webadmin.Page{Limit: limit, Cursor: cursor}, clusters.Card.Compare, clusterCursor, clusterPlace)
	}
	ids := func(cards []clusters.Card) (ids []string) {
		for _, c := range cards {
			ids = append(ids, c.ID)
		}
		return ids
	}
	for limit := 1; limit <= len(all)+1; limit++ {
		var got []clusters.Card
		pages := 0
		for next, more := "", true; more; more = next != "" {
			var some []clusters.Card
			some, next = page(all, next, limit)
			got = append(got, some...)
			if pages++; pages > len(all) {
				t.Fatalf("limit %d: no end", limit)
			}
		}
		if !slices.Equal(ids(got), ids(all)) || pages != (len(all)+limit-1)/limit {
			t.Errorf("limit %d: %d pages: %v", limit, pages, ids(got))
		}
	}
	first, next := page(all, "", 5)
	if rest, _ := page(slices.Delete(slices.Clone(all), 4, 5), next, 100); len(first) != 5 || !slices.Equal(ids(rest), ids(all[5:])) {
		t.Errorf("behind one that has gone: %v", ids(rest))
	}
	for _, odd := range []string{"x", "-", "1-2", "9999999999999999999999-1-K1"} {
		if some, _ := page(all, odd, 100); len(some) != len(all) {
			t.Errorf("a cursor that is none of ours, %q, does not begin anew: %v", odd, ids(some))
		}
	}
	if _, ok := networkPlace("7-0-nowhere"); ok {
		t.Error("a network that is none")
	}
	if n, ok := networkPlace(networkCursor(destinations.Network{Sessions: 7, Error: 2, Prefix: netip.MustParsePrefix("2001:db8::/48")})); !ok || n.Sessions != 7 || n.Error != 2 || n.Prefix != netip.MustParsePrefix("2001:db8::/48") {
		t.Errorf("%+v", n)
	}
}

// TestServersWhoseOfferIsGoneAreListed: while it is gone, the last one first, page by page, with the network that sessions are counted under.
func TestServersWhoseOfferIsGoneAreListed(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := d.api()
	saw := func(server string, offer session.Offer, times int) {
		for range times {
			d.judge.crypt.saw(netip.MustParseAddrPort(server), session.Facts{Offer: offer}, d.time())
		}
		d.pass(time.Minute)
	}
	servers := []string{"192.0.2.25:25", "[2001:db8:1:2::25]:25", "198.51.100.7:587"}
	for _, one := range servers {
		saw(one, session.IsOffered, 3)
	}
	if items, next := s.OffersGone(webadmin.Page{}); len(items) != 0 || next != "" {
		t.Errorf("%+v, %q", items, next)
	}
	for _, one := range servers {
		saw(one, session.NotOffered, 3)
	}
	var got []string
	for p := (webadmin.Page{Limit: 1}); ; {
		items, next := s.OffersGone(p)
		for _, one := range items {
			got = append(got, one.Server+" "+one.Network)
		}
		if p.Cursor = next; next == "" {
			break
		}
	}
	if want := []string{"198.51.100.7:587 198.51.100.0/24", "[2001:db8:1:2::25]:25 2001:db8:1::/48", "192.0.2.25:25 192.0.2.0/24"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	saw(servers[1], session.IsOffered, 1)
	if items, _ := s.OffersGone(webadmin.Page{}); len(items) != 2 {
		t.Errorf("after one is back: %+v", items)
	}
	for _, odd := range []string{"x", "-", "1-nowhere"} {
		if _, ok := gonePlace(odd); ok {
			t.Errorf("%q is a place", odd)
		}
	}
}
