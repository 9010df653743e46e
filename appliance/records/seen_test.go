package records

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// textOf is what an entry says, without what the chain adds.
func textOf(e Entry) string { return string(e.params) }

func TestClusterRecord(t *testing.T) {
	t.Parallel()
	f := ClusterFacts{
		Time: time.Unix(0, 0), ID: "K1", What: "began", JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1", Looks: "botnet", Began: time.Unix(0, 0), Subscribers: 40, Sessions: 80,
		Networks: 78, Bits: 15.04, Weights: "rarity=8.6 coincidence=5.3", Members: []string{"S-1", "S 2"}, Why: "because",
	}
	e := Cluster(f)
	want := ` cluster="K1" what="began" ja4="t13d1516h2_8daaf6152771_e5627efa2ab1" looks_like="botnet" start="1970-01-01T00:00:00.000Z" subscribers="40" sessions="80" ` +
		`messages_lo="0" networks="78" bits="15.0" weights="rarity=8.6 coincidence=5.3" members="S-1 S 2"`
	if e.Kind != KindCluster || e.Severity != Warning || e.Text != "cluster K1 began: because" || textOf(e) != want {
		t.Errorf("%v %q\n got %s\nwant %s", e.Severity, e.Text, textOf(e), want)
	}
	f.Looks = "software_update"
	if e := Cluster(f); e.Severity != Notice {
		t.Errorf("an update is %v", e.Severity)
	}
	f.What, f.Reason = "ended", "quiet"
	if e := Cluster(f); e.Text != "cluster K1 ended, quiet" || !strings.Contains(textOf(e), ` reason="quiet"`) {
		t.Errorf("%q %s", e.Text, textOf(e))
	}
	// More members than fit: those who came last.
	f.Members = nil
	for i := range 500 {
		f.Members = append(f.Members, fmt.Sprint("S-", 1000+i))
	}
	members := strings.Fields(params(Cluster(f).params).value("members"))
	if n := len(members); n < 140 || members[n-1] != "S-1499" || members[0] != fmt.Sprint("S-", 1500-n) {
		t.Errorf("%d members, from %s to %s", len(members), members[0], members[len(members)-1])
	}
}

func TestShareRecord(t *testing.T) {
	t.Parallel()
	e := Share(ShareFacts{Time: time.Unix(0, 0), Week: time.Unix(86400, 0), Before: 0.2, After: 0.3051, SessionsBefore: 7000, Sessions: 7500, Errors: 6.21})
	const want = ` start="1970-01-02T00:00:00.000Z" before="20.0" after="30.5" sessions_before="7000" sessions="7500" errors="6.2"`
	if e.Kind != KindShare || e.Text != "the encrypted share rose from 20.0 % to 30.5 % of the sessions within a week" || textOf(e) != want {
		t.Errorf("%q\n got %s\nwant %s", e.Text, textOf(e), want)
	}
	if e := Share(ShareFacts{Before: 0.9, After: 0.7}); !strings.HasPrefix(e.Text, "the encrypted share fell") {
		t.Errorf("%q", e.Text)
	}
}
