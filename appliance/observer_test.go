package appliance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/share"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/session"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const observed = `mode: observe
identity: {unmapped_plan: strangers}
clusters: {learn: 1h%s}
destinations: {owners_file: %q}
share: {alert_sessions: 100}
plans:
  - name: strangers
    highest_stage: observe
    budgets: [{of: sessions, limit: 1000000, per: 24h}]
`

const (
	usualPrint = "t13d1516h2_8daaf6152771_e5627efa2ab1"
	rarePrint  = "t12d4605h2_85626a9a5f7f_aaf95bb78ec9"
)

func addr4(a, n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(a<<24+n))
	return netip.AddrFrom4(b)
}

// mails is one session from the client to the network, with a print; "" is one in clear.
func (d *deaf) mails(client, network int, ja4 string) {
	d.t.Helper()
	f := nfq.Flow{Client: netip.AddrPortFrom(addr4(100, client), 1025), Server: netip.AddrPortFrom(addr4(11, network<<8+25), 25)}
	o := d.judge.Open(f, d.time())
	if o.Action != nfq.Pass {
		d.t.Fatalf("%+v", o)
	}
	s := nfq.Summary{Facts: session.Facts{Start: d.time(), End: d.time(), BytesUp: 700, BytesDown: 300, EndReason: session.EndFIN, JA4: ja4, JA3: ja4}}
	if ja4 != "" {
		s.TLS, s.Handshake = session.TLSStartTLS, session.Complete
	}
	d.judge.Close(f, o.Handle, s)
}

// usual is an hour in which 300 homes do what they always do.
func (d *deaf) usual(hours int) {
	d.t.Helper()
	for range hours {
		for i := range 300 {
			d.mails(i, i%20, usualPrint)
		}
		d.pass(time.Hour)
		d.observer.drain()
		d.observer.look()
		d.observer.write()
	}
}

func newObserved(t *testing.T, owners string) *deaf {
	return newDeaf(t, fmt.Sprintf(observed, "", owners), "subscriber,plan,prefixes\nhome,strangers,100.64.0.1\n")
}

func (d *deaf) api() *source { return &source{a: d.Appliance} }

// What sessions told at their end is in clusters, destinations and the share, and a restart forgets nothing of the first and
// the last.
func TestWhatIsSeenOfAllSessions(t *testing.T) {
	t.Parallel()
	d := newObserved(t, "")
	d.usual(3)
	for i := range 40 {
		d.mails(i*7, 1000+i, rarePrint)
		d.mails(i*7, 2000+i, rarePrint)
		d.observer.drain()
		d.observer.look()
	}
	for range 25 {
		d.mails(999, 7, "")
	}
	d.observer.drain()
	if v := d.observer.view(); v.Botnets != 1 || v.Updates != 0 || v.Learning || v.Prints != 2 {
		t.Errorf("%+v", v)
	}
	told := d.told(records.KindCluster)
	if len(told) != 3 || !strings.HasPrefix(told[0], "cluster K1 began: Probably one botnet: 10 subscribers came to the same TLS client within an hour") ||
		!strings.HasPrefix(told[1], "cluster K1 grew") {
		t.Errorf("%s", strings.Join(told, "\n"))
	}
	r := d.recent.Select(1, func(r *records.Record) bool { return r.Kind == records.KindCluster })[0]
	for name, want := range map[string]string{"ja4": rarePrint, "looks_like": "botnet", "subscribers": "40", "cluster": "K1", "what": "grew"} {
		if got := r.Value(name); got != want {
			t.Errorf("%s is %q in %s", name, got, r.AppendLine(nil, 0))
		}
	}
	if members := strings.Fields(r.Value("members")); len(members) != 40 || !slices.Contains(members, "100.0.0.7/32") {
		t.Errorf("%q", members)
	}
	problems := d.observer.problems()
	if len(problems) != 1 || !strings.Contains(problems[0].What, "one rare TLS client on 40 subscribers.") || problems[0].Since.IsZero() || strings.Contains(problems[0].What, "UTC") {
		t.Errorf("%+v", problems)
	}
	dest := d.api().Destinations(time.Hour, webadmin.Page{Limit: 5})
	if len(dest.Items) != 5 || dest.Items[0].Network != "11.0.7.0/24" || dest.Items[0].Sessions != 55 || dest.Items[0].Bytes != 55_000 || dest.Items[0].Error != 0 {
		t.Errorf("%+v", dest)
	}

	var pages []webadmin.Destination
	for p := (webadmin.Page{Limit: 7}); ; {
		one := d.api().Destinations(time.Hour, p)
		pages = append(pages, one.Items...)
		if p.Cursor = one.Next; p.Cursor == "" {
			break
		}
		if len(one.Items) != 7 {
			t.Fatalf("a page of %d", len(one.Items))
		}
	}
	if whole := d.api().Destinations(time.Hour, webadmin.Page{Limit: 1000}); len(pages) < 8 || !slices.Equal(pages, whole.Items) || whole.Next != "" {
		t.Errorf("%d networks by pages, %d at once", len(pages), len(whole.Items))
	}

	same := func(why string) {
		t.Helper()
		cards, _ := d.api().Clusters(webadmin.Page{})
		if len(cards) != 1 || cards[0].Count != 40 || len(cards[0].Members) != 40 || len(cards[0].Weights) != 5 || len(cards[0].MayBeWrong) < 3 || cards[0].Sessions != 80 {
			t.Errorf("%s: %+v", why, cards)
		}
		for _, step := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
			points, next, err := d.api().Share(webadmin.ShareQuery{Step: step, From: d.time().Add(-24 * time.Hour), To: d.time().Add(time.Hour), Limit: 100})
			var tls, clear webadmin.Counted
			for _, p := range points {
				tls.Sessions += p.StartTLS.Sessions
				tls.Bytes += p.StartTLS.Bytes
				clear.Sessions += p.Clear.Sessions
			}
			if err != nil || !next.IsZero() || tls.Sessions != 980 || tls.Bytes != 980_000 || clear.Sessions != 25 {
				t.Errorf("%s: %v: %+v %+v %v %v", why, step, tls, clear, next, err)
			}
		}
	}
	same("at once")
	if err := d.observer.finish(); err != nil {
		t.Fatal(err)
	}
	d.cut()
	d.start()
	same("after a restart")
	d.cut() // without a save: what was saved when it started is still there
	d.start()
	same("after a crash")
	if len(d.told(records.KindCluster)) != 0 {
		t.Error("told again")
	}

	d.write("mailweir.yaml", fmt.Sprintf(observed, ", known_good: ["+rarePrint+"]", ""))
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	d.observer.look()
	if cards, _ := d.api().Clusters(webadmin.Page{}); cards[0].Ended.IsZero() || cards[0].EndReason != "known_good" || len(d.observer.problems()) != 0 {
		t.Errorf("%+v", cards[0])
	}
	if told := d.told(records.KindCluster); len(told) != 1 || !strings.HasPrefix(told[0], "cluster K1 ended, known_good") {
		t.Errorf("%q", told)
	}
}

// What the last life left is damaged: it is begun anew, and told.
func TestWhatWasLearntIsDamaged(t *testing.T) {
	t.Parallel()
	d := newObserved(t, "")
	d.usual(2)
	if err := d.store.Shelf(observerShelf).Put(clustersKey, []byte("no state")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "data", "share.hours"), []byte(strings.Repeat("no series ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	d.cut()
	d.start()
	if told := strings.Join(d.told(records.KindHealth), "\n"); !strings.Contains(told, "begun anew: not a state of clusters") || !strings.Contains(told, "share.hours.damaged") {
		t.Error(told)
	}
	if v := d.observer.view(); v.Prints != 0 || !v.Learning {
		t.Errorf("%+v", v)
	}
	d.usual(2)
}

func TestOwnersOfNetworks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "asn.mmdb")
	put := func(name string) {
		w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "ASN", IncludeReservedNetworks: true})
		if err != nil {
			t.Fatal(err)
		}
		_, network, _ := net.ParseCIDR("11.0.7.0/24")
		if err := w.Insert(network, mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64500), "autonomous_system_organization": mmdbtype.String(name)}); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path + ".new")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := w.WriteTo(f); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(f.Name(), path); err != nil {
			t.Fatal(err)
		}
	}
	d := newObserved(t, path)
	d.mails(1, 7, "")
	d.observer.drain()
	owner := func() string { return d.api().Destinations(5*time.Minute, webadmin.Page{Limit: 1}).Items[0].Owner }
	if owner() != "" || len(d.observer.problems()) != 1 || !strings.Contains(strings.Join(d.told(records.KindHealth), "\n"), "owners: "+path+" is not there") {
		t.Errorf("no file: %q, %+v", owner(), d.observer.problems())
	}
	put("Example Mail")
	if err := d.reload(); err != nil { // SIGHUP
		t.Fatal(err)
	}
	if owner() != "Example Mail" || len(d.observer.problems()) != 0 {
		t.Errorf("%q, %+v", owner(), d.observer.problems())
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	if owner() != "Example Mail" || len(d.observer.problems()) != 1 {
		t.Errorf("damaged: %q, %+v", owner(), d.observer.problems())
	}
}

// Where nobody but the bots uses TLS it is the list that says how rare their print is.
func TestAClusterAmongManyWhoUseNoTLS(t *testing.T) {
	t.Parallel()
	for lines, want := range map[int]int{40: 0, 4000: 1} {
		list := strings.Builder{}
		list.WriteString("subscriber,plan,prefixes\n")
		for i := range lines {
			fmt.Fprintf(&list, "home%d,strangers,%s\n", i, addr4(100, i))
		}
		d := newDeaf(t, fmt.Sprintf(observed, "", ""), list.String())
		for range 5 { // hours
			for i := range 40 {
				d.mails(i, 1000+i, "")
			}
			d.pass(time.Hour)
			d.observer.drain()
			d.observer.look()
		}
		for i := range 40 {
			d.mails(i, 1000+i, rarePrint)
			d.mails(i, 2000+i, rarePrint)
		}
		d.observer.drain()
		d.observer.look()
		if v := d.observer.view(); v.Botnets != want || v.Learning {
			t.Errorf("%d on the list: %+v", lines, v)
		}
	}
}

// The share of a week differs from that of the week before.
func TestAShiftIsARecord(t *testing.T) {
	t.Parallel()
	d := newObserved(t, "")
	day := func(tls int) {
		for i := range 100 {
			ja4 := ""
			if i < tls {
				ja4 = usualPrint
			}
			d.mails(i, i%20, ja4)
		}
		d.observer.drain()
		d.pass(24 * time.Hour)
		d.observer.write()
	}
	for i := range 14 {
		day(30 + i%3)
	}
	if told := d.told(records.KindShare); len(told) != 0 {
		t.Errorf("%q", told)
	}
	remembered := func() (a share.Alarm) { // as a start after a crash finds it
		err := d.store.Shelf(observerShelf).Range(func(key, value []byte) error {
			if string(key) != string(alarmKey) {
				return nil
			}
			return json.Unmarshal(value, &a)
		})
		if err != nil {
			t.Error(err)
		}
		return a
	}
	say, full := d.observer.say, 3
	d.observer.say = func(e records.Entry) bool {
		if a := remembered(); e.Kind == records.KindShare && a.Told != 0 {
			t.Errorf("remembered before it is told: %+v", a)
		}
		if e.Kind == records.KindShare && full > 0 {
			full-- // there is no room for it: it is told again until there is
			return false
		}
		return say(e)
	}
	for range 7 {
		day(60)
		d.observer.write()
	}
	if a := remembered(); a.Told != 1 || full > 0 {
		t.Errorf("told and not remembered: %+v; refused %d times less than it should be", a, full)
	}
	told := d.told(records.KindShare)
	if len(told) != 1 || !strings.HasPrefix(told[0], "the encrypted share rose from 3") {
		t.Errorf("%q", told)
	}
	if err := d.observer.finish(); err != nil {
		t.Fatal(err)
	}
	d.cut()
	d.start()
	for range 3 {
		day(60)
	}
	if told := d.told(records.KindShare); len(told) != 0 {
		t.Errorf("told again after a restart: %q", told)
	}
}

// What a buffer does not hold is counted and told; nobody waits for it.
func TestMoreSessionsThanAreRead(t *testing.T) {
	t.Parallel()
	d := newObserved(t, "")
	for range sightingsAtOnce + 10 {
		d.mails(1, 7, "")
	}
	d.observer.drain()
	d.observer.drain()
	d.observer.write()
	if v := d.api().Destinations(time.Hour, webadmin.Page{Limit: 5}); v.Sessions != sightingsAtOnce {
		t.Errorf("%d sessions", v.Sessions)
	}
	if told := strings.Join(d.told(records.KindHealth), "\n"); !strings.Contains(told, "sightings_lost: 10: ") {
		t.Error(told)
	}
}

func TestHandingOverAllocatesNothing(t *testing.T) {
	seen := newSightings()
	v, s := &visit{who: who{id: "S-1001"}}, &nfq.Summary{Facts: session.Facts{JA4: usualPrint, JA3: "x", TLS: session.TLSStartTLS}}
	r := &rules{v4bits: 24, v6bits: 48}
	n := testing.AllocsPerRun(100, func() {
		for range 100 {
			seen.add(sightingOf(v, r.destination(addr4(11, 25)), s))
		}
		seen.take()
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is added to a session's end on the packet path.
func BenchmarkHandingOver(b *testing.B) {
	seen := newSightings()
	v, s := &visit{who: who{id: "S-1001"}}, &nfq.Summary{Facts: session.Facts{JA4: usualPrint, JA3: "x", TLS: session.TLSStartTLS}}
	r, to := &rules{v4bits: 24, v6bits: 48}, addr4(11, 25)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		seen.add(sightingOf(v, r.destination(to), s))
		if i%1000 == 0 {
			seen.take()
		}
	}
}

// What the observer does with each, off the packet path.
func BenchmarkObserving(b *testing.B) {
	d := newDeaf(b, fmt.Sprintf(observed, "", ""), "subscriber,plan,prefixes\nhome,strangers,100.64.0.1\n")
	var all []sighting
	for i := range 1000 {
		all = append(all, sighting{ja4: usualPrint, ja3: "x", subscriber: fmt.Sprint("S-", i%400), network: netip.PrefixFrom(addr4(11, i%300<<8), 24), bytes: 1000})
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.observer.seen.add(all[i%1000])
		if i%1000 == 999 {
			d.observer.drain()
		}
	}
}
