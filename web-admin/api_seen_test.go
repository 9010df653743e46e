package webadmin

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestClustersOverTheAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.cluster = []Cluster{{ID: "K2", JA4: "t13d121000_4d4a3b5e6f70_0123456789ab", LooksLike: "botnet", Began: At(noon), Last: At(noon), Count: 40}, {ID: "K1", Ended: At(noon), EndReason: "quiet"}}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	all := read[map[string]any](t, s, "/api/v1/clusters")
	items := all["items"].([]any)
	if len(items) != 2 || all["next"] != "" {
		t.Fatalf("%+v", all)
	}
	one := items[0].(map[string]any)
	for _, key := range strings.Fields("id ja4 ja3 shuffles looks_like began last_seen end_reason subscribers sessions messages_lo networks bits weights why may_be_wrong members") {
		if one[key] == nil {
			t.Errorf("a cluster lacks %s", key)
		}
	}
	if one["ended"] != nil || one["subscribers"] != 40.0 {
		t.Errorf("%+v", one)
	}
	if some := read[list[Cluster]](t, s, "/api/v1/clusters?limit=1"); len(some.Items) != 1 || some.Items[0].ID != "K2" {
		t.Errorf("%+v", some)
	}
	if next := read[list[Cluster]](t, s, "/api/v1/clusters?limit=1"); next.Next == "" {
		t.Error("no way to the second page")
	} else if rest := read[list[Cluster]](t, s, "/api/v1/clusters?limit=1&cursor="+url.QueryEscape(next.Next)); len(rest.Items) != 1 || rest.Items[0].ID != "K1" || rest.Next != "" {
		t.Errorf("%+v", rest)
	}
	if none := read[map[string]any](t, startServer(t, Options{Source: quietBox()}), "/api/v1/clusters"); none["items"] == nil {
		t.Error("an empty list is null")
	}
}

func TestDestinationsOverTheAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.dests = Destinations{Sessions: 7, Items: []Destination{{Network: "192.0.2.0/24"}, {Network: "198.51.100.0/24"}}}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	for query, want := range map[string]string{"": "1h0m0s 100", "?window=5m": "5m0s 100", "?window=24h&limit=7": "24h0m0s 7", "?limit=1&cursor=1": "1h0m0s 11"} {
		d := read[map[string]any](t, s, "/api/v1/destinations"+query)
		if d["items"] == nil || d["from"] == nil || d["sessions"] != 7.0 || d["error"] == nil {
			t.Errorf("%s: %+v", query, d)
		}
		box.mu.Lock()
		if got := box.asked[len(box.asked)-1]; got != "destinations "+want {
			t.Errorf("%s: %s", query, got)
		}
		box.mu.Unlock()
	}
	for _, bad := range []string{"?window=2h", "?window=60m", "?limit=0", "?cursor=" + strings.Repeat("x", 2000)} {
		if a := get(t, s, "/api/v1/destinations"+bad, "Authorization", "Bearer "+tokenOf(t, s)); a.StatusCode != 400 {
			t.Errorf("%s: %s", bad, a.Status)
		}
	}
}

func TestShareOverTheAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	for query, want := range map[string]string{"": "1h0m0s 60h0m0s", "?step=1m": "1m0s 1h0m0s", "?step=24h&from=2026-11-01T00:00:00Z&to=2026-11-08T00:00:00Z": "24h0m0s 168h0m0s"} {
		p := read[list[SharePoint]](t, s, "/api/v1/share"+query)
		if len(p.Items) == 0 || p.Items[0].StartTLS.Sessions != 3 || p.Items[0].Encrypted != 0.75 {
			t.Errorf("%s: %+v", query, p)
		}
		box.mu.Lock()
		if got := box.asked[len(box.asked)-1]; got != "share "+want {
			t.Errorf("%s: %s", query, got)
		}
		box.mu.Unlock()
	}
	var all []SharePoint
	const query = "/api/v1/share?step=1m&limit=7&from=2026-11-18T10:00:00Z&to=2026-11-18T11:00:00Z"
	for path := query; path != ""; {
		page := read[list[SharePoint]](t, s, path)
		all = append(all, page.Items...)
		if path = ""; page.Next != "" {
			path = query + "&cursor=" + url.QueryEscape(page.Next)
		}
	}
	if len(all) < 38 || len(all) > 42 {
		t.Errorf("%d points over all pages", len(all))
	}
	for i := range all[1:] {
		if !all[i].Start.Before(all[i+1].Start.Time) {
			t.Errorf("%v after %v", all[i+1].Start, all[i].Start)
		}
	}
	for _, bad := range []string{"?step=1s", "?from=yesterday", "?cursor=x", "?from=2026-11-08T00:00:00Z&to=2026-11-01T00:00:00Z"} {
		if a := get(t, s, "/api/v1/share"+bad, "Authorization", "Bearer "+tokenOf(t, s)); a.StatusCode != 400 {
			t.Errorf("%s: %s", bad, a.Status)
		}
	}
	box.mu.Lock()
	box.broken = errors.New("input/output error")
	box.mu.Unlock()
	if a := get(t, s, "/api/v1/share", "Authorization", "Bearer "+tokenOf(t, s)); a.StatusCode != 500 {
		t.Errorf("a disk that cannot be read: %s", a.Status)
	}
}
