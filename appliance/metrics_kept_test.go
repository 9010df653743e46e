package appliance

import (
	"net"
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
