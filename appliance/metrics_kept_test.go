package appliance

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailweir/mailweir/appliance/records"
)

// What waits for a collector that is away, how old it is, and how full spool and journal are, is in the metrics.
func TestMetricsTellWhatWaitsAndHowFullItIs(t *testing.T) {
	t.Parallel()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	url := "relp://" + nobody.Addr().String()
	d := newDeaf(t, homePlans+"syslog: {targets: [{url: \""+url+"\"}]}\n", homeList)
	const behind = 7
	age := 20 * time.Minute
	for range behind {
		d.chain.Append(records.Audit(records.AuditFacts{Who: "admin", What: "release"}), d.now().Add(-age))
	}
	d.syslog.spool.Sync()
	read := func() map[string]float64 {
		got := map[string]float64{}
		take := func(desc *prometheus.Desc, v float64, labels ...string) {
			name, _, _ := strings.Cut(strings.TrimPrefix(desc.String(), `Desc{fqName: "`), `"`)
			got[strings.Join(append([]string{name}, labels...), " ")] = v
		}
		d.countKept(take, take)
		return got
	}
	got := read()
	if n := got["mailweir_syslog_waiting_records "+url]; n < behind {
		t.Errorf("%v records wait, want %d at least", n, behind)
	}
	if s := got["mailweir_syslog_oldest_waiting_age_seconds "+url]; s < age.Seconds() {
		t.Errorf("the oldest is %v s old, want %v at least", s, age.Seconds())
	}
	st := d.syslog.spool.Stat()
	for name, want := range map[string]float64{"mailweir_spool_bytes": float64(st.Bytes), "mailweir_spool_limit_bytes": float64(st.Limit), "mailweir_spool_records": float64(st.Records),
		"mailweir_spool_ok": 1, "mailweir_journal_ok": 1, "mailweir_spool_lost_records_total full": 0, "mailweir_journal_limit_bytes": float64(d.cfg.Load().Journal.Bytes)} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if v := d.journalView(); v.Limit != int64(d.cfg.Load().Journal.Bytes) || v.Fault != "" {
		t.Errorf("the journal of the status: %+v", v)
	}
	if err := d.syslog.spool.Only(nil); err != nil {
		t.Fatal(err)
	}
	if n := read()["mailweir_spool_lost_records_total collector_removed"]; n != 0 {
		t.Errorf("%v lost to a collector from which nothing was read", n)
	}
}

// What a viewer scrapes has every figure and no name or address of the configuration: a label that is not known to be open is numbered.
func TestMetricsForViewersNameNobody(t *testing.T) {
	t.Parallel()
	secrets := []string{"198.51.100.7:6514", "198.51.100.8", "desk-of-anna", "anna.leases"}
	d := &deaf{t: t, dir: t.TempDir(), wall: opened}
	d.write("mailweir.yaml", strings.Replace(homePlans, "identity: {", "identity: {lease_files: [{path: anna.leases, format: dnsmasq}], ", 1)+`syslog: {targets: [{url: "tcp://198.51.100.7:6514"}, {url: "udp://198.51.100.8"}]}
notices: {webhooks: [{name: desk-of-anna, url: "https://198.51.100.9/hook", secret_file: hook}]}
`)
	d.write("hook", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
	d.write("subscribers.csv", homeList)
	d.start()
	t.Cleanup(d.cut)
	if err := d.lines.use(d.cfg.Load()); err != nil {
		t.Fatal(err)
	}
	scrape := func(show func(*prometheus.Desc, []string) []string) string {
		var text strings.Builder
		take := func(desc *prometheus.Desc, _ float64, labels ...string) {
			name, _, _ := strings.Cut(strings.TrimPrefix(desc.String(), `Desc{fqName: "`), `"`)
			text.WriteString(name + "{")
			for i, value := range show(desc, labels) {
				fmt.Fprintf(&text, "%s=%q,", labelled[desc][i], value)
			}
			text.WriteString("}\n")
		}
		d.countKept(take, take)
		d.countNamed(take, take)
		return text.String()
	}
	whole, masked := scrape(func(_ *prometheus.Desc, labels []string) []string { return labels }), scrape(labelMask{}.of)
	if n, all := strings.Count(masked, "\n"), strings.Count(whole, "\n"); n != all || n < 30 {
		t.Errorf("%d figures for a viewer, %d for others", n, all)
	}
	for _, secret := range secrets {
		if !strings.Contains(whole, secret) || strings.Contains(masked, secret) {
			t.Errorf("%q is in the whole metrics: %v, in a viewer's: %v", secret, strings.Contains(whole, secret), strings.Contains(masked, secret))
		}
	}
	for _, want := range []string{`mailweir_syslog_up{url="tcp collector 1",}`, `mailweir_syslog_waiting_records{url="udp collector 2",}`, `mailweir_notices_up{target="target 1",}`, `mailweir_leases{path="lease file 1",}`} {
		if !strings.Contains(masked, want) {
			t.Errorf("a viewer's metrics lack %s", want)
		}
	}
	number := regexp.MustCompile(`^([a-z]+ collector|target|lease file|time server|hidden) \d+$`)
	for _, label := range regexp.MustCompile(`([a-z_]+)="([^"]*)",`).FindAllStringSubmatch(masked, -1) {
		if !openLabels[label[1]] && label[2] != "" && !number.MatchString(label[2]) {
			t.Errorf("a viewer is told %s=%q", label[1], label[2])
		}
	}
	if got := (labelMask{}).of(mSyslogUp, []string{""}); got[0] != "" {
		t.Errorf("nothing became %q", got)
	}
}
