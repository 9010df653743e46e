package webadmin

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// heaviest is what a page may weigh on the wire, with all that it brings.
const heaviest = 150_000

// loaded is one thing that the browser fetched for a page.
type loaded struct {
	Name   string `json:"name"`
	By     string `json:"by"`     // what asked for it
	Blocks string `json:"blocks"` // the first paint
	Bytes  int    `json:"bytes"`  // on the wire, with headers
}

const whatWasLoaded = `performance.getEntries().filter(e => e.entryType === "navigation" || e.entryType === "resource")
	.map(e => ({name: e.name, by: e.initiatorType, blocks: e.renderBlockingStatus || "", bytes: Math.round(e.transferSize)}))`

// heavyBox is a box whose pages are as full as they get: long names, as many rows as a page has, records with all their parameters.
func heavyBox() *fakeBox {
	box := busyBox()
	for i := range box.subs {
		box.subs[i].Name += ", second staircase, flat on the left of the lift, c/o Fernández-Hernández"
		box.subs[i].Prefixes = append(box.subs[i].Prefixes, "2001:db8:1234:5600::/56", "2001:db8:1234:5700::/56")
	}
	box.records = nil
	for i := range 200 {
		id := box.subs[i%len(box.subs)].ID
		var params []Param
		line := "<165>1 2026-11-18T11:04:31.123456Z edge-1.isp.example mailweir 812 SESSION [mailweir@32473"
		for _, p := range strings.Fields(heavySession) {
			name, value, _ := strings.Cut(p, "=")
			params = append(params, Param{name, value})
			line += fmt.Sprintf(" %s=%q", name, value)
		}
		box.records = append(box.records, Record{Seq: uint64(182_400 - i), At: ago(time.Duration(i) * time.Second), Kind: "SESSION", Subscriber: id, Params: append(params, Param{"subscriber", id}), Line: line + "]"})
	}
	return box
}

// heavySession are the parameters of a SESSION record that has them all.
const heavySession = `seq=182400 prev=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 box=edge-1.isp.example mode=enforce src=2001:db8:2004:1234:5678:9abc:def0:25 sport=51234 dst=2001:db8:ffff:1234:5678:9abc:def0:19 dport=25
 start=2026-11-18T11:04:21.123456Z dur_ms=4210 bytes_up=182110 bytes_down=51200 starttls=accepted tls=starttls tls_version=TLS1.3 ja3=e7d705a3286e19ea42f587b344ee6865 ja4=t13d1516h2_8daaf6152771_02713d6af862
 sni=inbound-smtp.a-rather-long-name-of-a-mail-exchanger.mail.protection.example.net handshake=complete handshake_bytes=4096 handshake_ratio=0.23 messages=12 recipients=24 messages_lo=11 messages_hi=13 replies_4xx=1 replies_5xx=2 end_reason=fin lane=fast plan=residential stage=observe binding=radius`

// Every page as full as it gets, with everything that it brings, in a browser that was never here: it is light, and what it needs to be
// painted is named in the page itself, so that one round of requests is enough.
func TestPagesAreLight(t *testing.T) {
	ctx := browserFor(t, 20*time.Minute)
	if _, err := chromedp.Run(ctx, func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := chromedp.Call(ctx, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
		return chromedp.Void{}, err
	}); err != nil {
		t.Fatal(err)
	}
	most, where := 0, ""
	for _, p := range tourOf(t, heavyBox()) {
		visit(t, ctx, p)
		sum, files := 0, map[string]bool{}
		for _, l := range evaluate[[]loaded](t, ctx, whatWasLoaded) {
			at, err := url.Parse(l.Name)
			if err != nil {
				t.Fatal(err)
			}
			if l.By == "navigation" || strings.HasPrefix(at.Path, "/static/") {
				sum += l.Bytes
				files[at.Path] = l.Bytes > 0
			}
			if l.By != "navigation" && l.By != "link" && l.By != "script" && l.By != "fetch" && l.By != "other" || l.Blocks == "blocking" && l.By != "link" && l.By != "script" {
				t.Errorf("%s: %s is asked for by %s, after another round", p.name, l.Name, l.By)
			}
		}
		if !files["/static/admin.css"] || p.who.at == inside && !files["/static/admin.js"] {
			t.Errorf("%s: not all of it was counted: %v", p.name, files)
		}
		if sum > heaviest {
			t.Errorf("%s weighs %d bytes, want at most %d", p.name, sum, heaviest)
		}
		if sum > most {
			most, where = sum, p.name
		}
	}
	t.Logf("the heaviest page is %s with %d bytes", where, most)
}

// A packed page says the same as a plain one, and who takes no packed ones gets none.
func TestWhoTakesPackedPages(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	plain := body(t, get(t, s, "/records", "Cookie", cookie, "Accept-Encoding", "identity"))
	for takes, want := range map[string]string{"gzip": "gzip", "br;q=1.0, GZIP ; q=0.8, *;q=0.1": "gzip", "deflate, gzip;q=0": "", "br": "", "gzip;q=x": "", "": ""} {
		a := get(t, s, "/records", "Cookie", cookie, "Accept-Encoding", takes)
		text := body(t, a)
		if got := a.Header.Get("Content-Encoding"); got != want || a.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q gets %q, want %q; Vary %q", takes, got, want, a.Header.Get("Vary"))
		}
		if want == "" {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if unpacked, err := io.ReadAll(z); err != nil || string(unpacked) != plain || len(text)*4 > len(plain) {
			t.Errorf("%q: %d bytes packed, %d unpacked, %d plain, %v", takes, len(text), len(unpacked), len(plain), err)
		}
	}
	if a := get(t, s, "/account/factor", "Cookie", cookie, "Accept-Encoding", "gzip"); a.Header.Get("Content-Encoding") != "" {
		t.Error("a page with a secret is packed")
	}
}
