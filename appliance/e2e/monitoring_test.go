package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/appliance/monitoring"
)

// What a running box says to Prometheus: promtool finds nothing to say against it, a real Prometheus scrapes it,
// takes the rules, and answers every query of the dashboard and of the rules.
func TestPrometheusReadsTheBox(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	nas := addNAS(t, ctx, l)
	check(t, os.WriteFile(filepath.Join(l.Dir, "dnsmasq.leases"), []byte("not a lease\n"), 0o600))
	b := newBox(t, ctx, l, strings.Replace(withRADIUS(t, l, nas, config("enforce", `  - name: small
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 4, per: 24h}
    ladder: {pace_at: 80, pace_max: 0s}
`)), "  unmapped_plan:", "  lease_files:\n    - {path: dnsmasq.leases, format: dnsmasq}\n  unmapped_plan:", 1)+
		"syslog:\n  targets: [{url: \"tcp://192.0.2.99:514\"}]\n",
		"subscriber,plan,prefixes,circuits\nhome,small,"+home.IPv4.String()+",acct-home\n")
	b.start()
	home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 20})

	lint := exec.CommandContext(ctx, "promtool", "check", "metrics")
	lint.Stdin = strings.NewReader(b.metrics())
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}

	// Without a token they are masked as for a viewer: what the configuration names has no name in them, and there are as many figures.
	whole, public := b.metrics(), b.scrape("")
	for _, secret := range []string{"192.0.2.99", "dnsmasq.leases"} {
		if !strings.Contains(whole, secret) || strings.Contains(public, secret) {
			t.Errorf("%q is in the metrics of an admin: %v; of everybody: %v", secret, strings.Contains(whole, secret), strings.Contains(public, secret))
		}
	}
	for _, masked := range []string{`mailweir_syslog_up{url="tcp collector 1"}`, `mailweir_leases{path="lease file 1"}`} {
		if !strings.Contains(public, masked) {
			t.Errorf("the metrics of everybody lack %s", masked)
		}
	}
	if found := wholeAddress.FindAllString(public, -1); len(found) > 0 {
		t.Errorf("the metrics of everybody tell addresses: %q", found)
	}

	prometheus := startPrometheus(t, b)
	prometheus.awaitSamples()
	queries, err := monitoring.Queries()
	check(t, err)
	scraped := b.metrics()
	selectors := 0
	for _, q := range queries {
		prometheus.query(q.Expr)
		for _, s := range q.Selectors() {
			selectors++
			name, _, _ := strings.Cut(s, "{")
			got := prometheus.query(s)
			// What the box has, Prometheus finds, also with the labels that the query asks for.
			if strings.Contains(scraped, "\n"+name+"{") || strings.Contains(scraped, "\n"+name+" ") {
				if n := len(prometheus.query(name)); n == 0 {
					t.Errorf("%s: the box has %s, Prometheus does not", q.Where, name)
				}
				if len(got) == 0 {
					t.Errorf("%s: nothing is %s", q.Where, s)
				}
			}
		}
	}
	t.Logf("Prometheus answered %d queries and %d selectors", len(queries), selectors)

	// The collector does not answer and the lease file is rubbish: Prometheus sees that these alerts are about to fire.
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	alerts, err := monitoring.Alerts()
	check(t, err)
	states := map[string]string{}
	await(t, 60*time.Second, "all rules to be evaluated", func() bool {
		prometheus.ask("rules", nil, &rules)
		evaluated := 0
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("rule %s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					evaluated++
				}
				states[r.Name] = r.State
			}
		}
		return evaluated == len(alerts) && states["MailweirCollectorDown"] != "inactive" && states["MailweirLeaseFileBad"] != "inactive"
	})
	for name, state := range states {
		if name != "MailweirCollectorDown" && name != "MailweirLeaseFileBad" && state != "inactive" {
			t.Errorf("%s is %s", name, state)
		}
	}
}

// wholeAddress is what looks like one.
var wholeAddress = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)

// prometheus is Debian's, in the box's namespace, with a job mailweir.
type prometheus struct {
	t   *testing.T
	api *http.Client
}

func startPrometheus(t *testing.T, b *box) prometheus {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "mailweir.rules.yml"), monitoring.Rules, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [mailweir.rules.yml]
scrape_configs:
  - job_name: mailweir
    scheme: https
    tls_config: {insecure_skip_verify: true}
    static_configs: [{targets: ["127.0.0.1:8443"]}]
`), 0o600))
	cmd := b.lab.Box.Command(b.ctx, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:9090", "--log.level=warn")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	check(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", said.String())
		}
	})
	client := &http.Client{Timeout: 10 * time.Second}
	client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return b.lab.Box.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:9090"))
	}}
	return prometheus{t: t, api: client}
}

// ask decodes the data of an answer of the HTTP API; false while Prometheus is not there.
func (p prometheus) ask(path string, query url.Values, data any) bool {
	p.t.Helper()
	resp, err := p.api.Get("http://prometheus/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		if resp.StatusCode == http.StatusServiceUnavailable {
			return false
		}
		p.t.Fatalf("prometheus, %s: %s: %s %v", path, query, answer.Error, err)
	}
	return true
}

// query is what an expression gives now; one that is wrong fails the test.
func (p prometheus) query(expr string) []json.RawMessage {
	p.t.Helper()
	var data struct{ Result []json.RawMessage }
	if !p.ask("query", url.Values{"query": {expr}}, &data) {
		p.t.Fatal("prometheus is gone")
	}
	return data.Result
}

// awaitSamples waits for the box's second scrape, from which on there are rates.
func (p prometheus) awaitSamples() {
	p.t.Helper()
	await(p.t, 60*time.Second, "Prometheus to scrape the box twice", func() bool {
		var data struct {
			Result []struct{ Value [2]any }
		}
		return p.ask("query", url.Values{"query": {`count_over_time(up{job="mailweir"}[1m]) >= 2 and up{job="mailweir"} == 1`}}, &data) && len(data.Result) == 1
	})
}
