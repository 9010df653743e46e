package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A lease gives its address to the line whose circuit it names: a DHCP server's
// file that changes moves the line, and what it was refused goes with it.
func TestLeaseFilesMoveTheLine(t *testing.T) {
	const limit = 3
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	b := newBox(t, ctx, l, strings.Replace(config("enforce", fmt.Sprintf(`  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: %d, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`, limit)), "  unmapped_plan:", `  lease_files:
    - {path: dnsmasq.leases, format: dnsmasq}
    - {path: kea-leases4.csv, format: kea-csv}
    - {path: kea-leases6.csv, format: kea-csv}
  unmapped_plan:`, 1), `subscriber,plan,circuits
by-dnsmasq,small,02:00:5e:00:53:01
by-kea,small,02:00:5e:00:53:02
by-kea-prefix,small,02:00:5e:00:53:03
`)
	expires := time.Now().Add(time.Hour).Unix()
	dnsmasq := func(leases ...string) { // hardware address, address
		text := ""
		for i := 0; i < len(leases); i += 2 {
			text += fmt.Sprintf("%d %s %s host *\n", expires, leases[i], leases[i+1])
		}
		b.replace("dnsmasq.leases", text)
	}
	const kea4Head = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n"
	const kea6Head = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source\n"
	kea4 := func(addr, hw string, valid int) string {
		return fmt.Sprintf("%s,%s,,%d,%d,1,0,0,,0,\n", addr, hw, valid, time.Now().Unix()+int64(valid))
	}
	// hwaddr_source 1: as Kea saw it on the wire. One out of the DUID, which the
	// client chooses, would be nobody's circuit.
	kea6 := func(prefix, hw string, valid int) string {
		return fmt.Sprintf("%s,00:03:00:01:02:00:5e:00:53:99,%d,%d,1,1800,2,7,56,0,0,,%s,0,,1,1\n", prefix, valid, time.Now().Unix()+int64(valid), hw)
	}
	dnsmasq()
	b.replace("kea-leases4.csv", kea4Head)
	b.replace("kea-leases6.csv", kea6Head)
	b.start()
	appendTo := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(l.Dir, name), os.O_APPEND|os.O_WRONLY, 0)
		check(t, err)
		_, err = f.WriteString(text)
		check(t, err)
		check(t, f.Close())
	}
	for _, row := range []struct {
		line string
		ipv6 bool
		// give says in the file that the line has this home's address, and takes it
		// from the home before, if there is one.
		give func(now, before *lab.Home)
	}{
		{"by-dnsmasq", false, func(now, _ *lab.Home) { dnsmasq("02:00:5e:00:53:01", now.IPv4.String()) }},
		{"by-kea", false, func(now, before *lab.Home) {
			if before != nil { // what the server writes when a client moves on: its old lease with no time left
				appendTo("kea-leases4.csv", kea4(before.IPv4.String(), "02:00:5e:00:53:02", 0))
			}
			appendTo("kea-leases4.csv", kea4(now.IPv4.String(), "02:00:5e:00:53:02", 3600))
		}},
		{"by-kea-prefix", true, func(now, before *lab.Home) {
			text := kea6(now.Prefix6.Addr().String(), "02:00:5e:00:53:03", 3600)
			if before != nil {
				text += kea6(before.Prefix6.Addr().String(), "02:00:5e:00:53:03", 0)
			}
			// As a clean-up of the file does it: all of it anew, under the same name.
			b.replace("kea-leases6.csv", kea6Head+text)
		}},
	} {
		first, second := addHome(t, l, row.line+"-1"), addHome(t, l, row.line+"-2")
		of := func(h *lab.Home) string {
			if row.ipv6 {
				return b.holder(h.IPv6, time.Time{})
			}
			return b.holder(h.IPv4, time.Time{})
		}
		moved := func(to *lab.Home, begin time.Time) {
			t.Helper()
			await(t, 10*time.Second, row.line+" to be where the lease is", func() bool { return of(to) == row.line })
			took := time.Since(begin)
			t.Logf("%s: its address was known %v after the file changed", row.line, ms(took))
			if took > 1500*time.Millisecond {
				t.Errorf("%s: it took %v", row.line, took)
			}
		}
		send := func(h *lab.Home) lab.Result {
			return h.Send(ctx, lab.Traffic{To: mx.Address(row.ipv6), From: "a@home.test", Rcpt: "b@mx.test"})[0].Result
		}
		if got := of(first); got != "" {
			t.Errorf("%s: held by %q before any lease", row.line, got)
		}
		begin := time.Now()
		row.give(first, nil)
		moved(first, begin)
		for i := range limit {
			if got := send(first); got != lab.Sent {
				t.Errorf("%s, session %d: %v", row.line, i+1, got)
			}
		}
		if got := send(first); got != lab.Deferred {
			t.Errorf("%s, one more than the budget: %v", row.line, got)
		}
		if v := b.subscriber(row.line); v.Stage != "defer" || len(v.Bindings) != 1 || v.Bindings[0].Source != "lease" {
			t.Errorf("%s: stage %s, bindings %+v", row.line, v.Stage, v.Bindings)
		}
		begin = time.Now()
		row.give(second, first)
		moved(second, begin)
		if got := send(second); got != lab.Deferred {
			t.Errorf("%s, on its new address: %v", row.line, got)
		}
		if got := of(first); got != "" {
			t.Errorf("%s: the old address is held by %q", row.line, got)
		}
		if got := send(first); got != lab.Sent {
			t.Errorf("%s: whoever has the old address now: %v", row.line, got)
		}
	}
	// Nobody's hardware address gives nothing to anybody.
	stranger := addHome(t, l, "stranger")
	dnsmasq("02:00:5e:00:53:77", stranger.IPv4.String())
	await(t, 10*time.Second, "the lease of by-dnsmasq to be gone", func() bool { return len(b.subscriber("by-dnsmasq").Bindings) == 0 })
	if got := b.holder(stranger.IPv4, time.Time{}); got != "" {
		t.Errorf("a lease of nobody's hardware address: %q", got)
	}
}

// A lease file that goes away takes nobody's address away: the last one that was
// read counts, the box says what is wrong, and that it is over when it is back.
func TestLeaseFileThatGoesAway(t *testing.T) {
	l, ctx := startLab(t)
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, strings.Replace(config("enforce", ""), "  unmapped_plan:",
		"  lease_files: [{path: dnsmasq.leases, format: dnsmasq}]\n  unmapped_plan:", 1),
		"subscriber,plan,circuits\nhome,free,02:00:5e:00:53:01\n")
	text := fmt.Sprintf("%d 02:00:5e:00:53:01 %s * *\n", time.Now().Add(time.Hour).Unix(), home.IPv4)
	b.replace("dnsmasq.leases", text)
	b.start()
	holds := func(why, want string) {
		t.Helper()
		await(t, 5*time.Second, why, func() bool { return b.holder(home.IPv4, time.Time{}) == want })
	}
	holds("the lease to be read at the start", "home")
	health := func(words ...string) bool {
		for _, r := range b.records("kind=HEALTH&limit=100") {
			all := true
			for _, w := range words {
				all = all && strings.Contains(r.Line, w)
			}
			if all {
				return true
			}
		}
		return false
	}
	check(t, os.Remove(filepath.Join(l.Dir, "dnsmasq.leases")))
	await(t, 10*time.Second, "a HEALTH record that it is gone", func() bool { return health("dnsmasq.leases") })
	if len(b.status().Problems) == 0 {
		t.Error("status has no problem")
	}
	holds("nobody to lose his address", "home")
	b.kill()
	b.start()
	holds("nobody to lose his address over a crash", "home")
	// A line that is not understood is told; the others count.
	b.replace("dnsmasq.leases", text+"this is no lease\n")
	holds("the lease again", "home")
	await(t, 10*time.Second, "the broken line to be counted", func() bool {
		return strings.Contains(b.metrics(), `dnsmasq.leases"} 1`)
	})
	// A DHCP server that starts empties its file before it fills it.
	b.replace("dnsmasq.leases", "")
	await(t, 10*time.Second, "an empty file to be told", func() bool { return len(b.status().Problems) == 1 })
	holds("nobody to lose his address by an empty file", "home")
	b.replace("dnsmasq.leases", strings.Replace(text, home.IPv4.String(), "100.64.200.200", 1))
	holds("another lease to end this one", "")
	await(t, 10*time.Second, "no problem when all is well", func() bool { return len(b.status().Problems) == 0 })
}
