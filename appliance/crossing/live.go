package crossing

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
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

// govern starts mailweir in the box.
func (r *Rig) govern(ctx context.Context, mailweir, lane string) (*lab.Governor, error) {
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
	return r.Lab.Govern(ctx, mailweir, config, filepath.Join(dir, "data"))
}

// told is a SESSION record.
type told struct {
	src, dst netip.AddrPort
	start    time.Time
	Estimate
}

// sessions reads the SESSION records of a box until there are n.
func sessions(ctx context.Context, g *lab.Governor, n int) ([]told, error) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		all, err := recorded(ctx, g)
		if err != nil || len(all) >= n {
			return all, err
		}
		select {
		case <-ctx.Done():
			return all, nil // who misses some of them says which
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// recorded is every SESSION record that the box still has.
func recorded(ctx context.Context, g *lab.Governor) ([]told, error) {
	var out []told
	for cursor := ""; ; {
		var page struct {
			Items []webadmin.Record `json:"items"`
			Next  string            `json:"next"`
		}
		if err := g.Get(ctx, "/api/v1/records?"+url.Values{"kind": {"SESSION"}, "limit": {"1000"}, "cursor": {cursor}}.Encode(), &page); err != nil {
			return nil, err
		}
		for _, r := range page.Items {
			t, err := readSession(r)
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
		if cursor = page.Next; cursor == "" {
			return out, nil
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
