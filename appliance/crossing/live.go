package crossing

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// boxConfig governs both ports with budgets that nobody reaches: what is looked at here is what it counts.
const boxConfig = `mode: enforce
network:
  subscriber_interfaces: [lan0]
  upstream_interfaces: [wan0]
  limited_ports: [25, 465]
queue: {fast_lane: %s}
identity:
  subscribers_file: subscribers.csv
  unmapped_plan: free
plans:
  - name: free
    highest_stage: observe
    budgets:
      - {of: sessions, limit: 1000000, per: 1h}
      - {of: messages, limit: 1000000, per: 1h}
`

// box is mailweir at work, and the SESSION records it has made so far: it keeps the last few thousand records only.
type box struct {
	*lab.Governor
	told []told
	last uint64 // record that was read
}

// govern starts mailweir in the box.
func (r *Rig) govern(ctx context.Context, mailweir, lane string) (*box, error) {
	dir := filepath.Join(r.Lab.Dir, "box-"+lane)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	list := "subscriber,plan,prefixes\n"
	for _, c := range r.clients {
		l := c.line()
		list += fmt.Sprintf("%s,free,%s %s\n", l.Name, l.IPv4, l.Prefix6)
	}
	config := filepath.Join(dir, "mailweir.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, boxConfig, lane), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "subscribers.csv"), []byte(list), 0o600); err != nil {
		return nil, err
	}
	g, err := r.Lab.Govern(ctx, mailweir, config, filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	return &box{Governor: g}, nil
}

// told is a SESSION record.
type told struct {
	src, dst netip.AddrPort
	start    time.Time
	Estimate
}

// follow reads records until done is closed.
func (b *box) follow(ctx context.Context, done <-chan struct{}) error {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-done:
			tick.Stop()
			return nil
		case <-tick.C:
			if err := b.read(ctx); err != nil {
				return err
			}
		}
	}
}

// await reads records until there are those of n sessions. Who misses some of them says which.
func (b *box) await(ctx context.Context, n int) error {
	for end := time.Now().Add(settle); ; time.Sleep(100 * time.Millisecond) {
		if err := b.read(ctx); err != nil || len(b.told) >= n || time.Now().After(end) {
			return err
		}
	}
}

// read takes the SESSION records that are new; the box gives the newest first.
func (b *box) read(ctx context.Context) error {
	newest := b.last
	for cursor := ""; ; {
		var page struct {
			Items []webadmin.Record `json:"items"`
			Next  string            `json:"next"`
		}
		if err := b.Get(ctx, "/api/v1/records?"+url.Values{"kind": {"SESSION"}, "limit": {"500"}, "cursor": {cursor}}.Encode(), &page); err != nil {
			return err
		}
		for _, r := range page.Items {
			if r.Seq <= b.last {
				b.last = newest
				return nil
			}
			t, err := readSession(r)
			if err != nil {
				return err
			}
			b.told = append(b.told, t)
			newest = max(newest, r.Seq)
		}
		if cursor = page.Next; cursor == "" {
			b.last = newest
			return nil
		}
	}
}

// parameter is one of a record (RFC 5424, section 6.3); none of those read here has anything to escape.
var parameter = regexp.MustCompile(` (\w+)="([^"]*)"`)

func readSession(r webadmin.Record) (told, error) {
	p := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(r.Line, -1) {
		p[m[1]] = m[2]
	}
	var t told
	var errs [5]error
	t.src, errs[0] = netip.ParseAddrPort(hostPort(p["src"], p["sport"]))
	t.dst, errs[1] = netip.ParseAddrPort(hostPort(p["dst"], p["dport"]))
	t.start, errs[2] = time.Parse(time.RFC3339Nano, p["start"])
	t.Lo, errs[3] = strconv.Atoi(p["messages_lo"])
	t.Hi, errs[4] = strconv.Atoi(p["messages_hi"])
	if p["messages_hi"] == "" {
		t.Hi, errs[4] = -1, nil // a bound that is not known is left out
	}
	for _, err := range errs {
		if err != nil {
			return t, fmt.Errorf("%w in %s", err, r.Line)
		}
	}
	return t, nil
}

func hostPort(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// estimate adds what the box said of each session.
func (b *box) estimate(ctx context.Context, way Way, all []Estimated) error {
	if err := b.await(ctx, len(all)); err != nil {
		return err
	}
	const skew = 10 * time.Second // between the capture's clock and that of a box which has to wait for a processor; no client has the same port twice in that time
	for i := range all {
		e := &all[i]
		apart := func(t told) time.Duration { return t.start.Sub(e.Start).Abs() }
		var same []told
		for _, t := range b.told {
			if t.src == e.Src && t.dst == e.Dst {
				same = append(same, t)
			}
		}
		slices.SortFunc(same, func(x, y told) int { return cmp.Compare(apart(x), apart(y)) })
		if len(same) == 0 || apart(same[0]) > skew {
			return fmt.Errorf("the box has no record of the session %v to %v at %v, but %d of others from there to there, the nearest in time %+v; %d records of %d sessions: %s, %v", e.Src, e.Dst, e.Start, len(same), same[:min(1, len(same))], len(b.told), len(all), e.Client, e.Case)
		}
		e.By[way] = same[0].Estimate
	}
	return nil
}
