package appliance

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/clusters"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// whereIs are the files of the data directory in which an address stands, as text or as four bytes.
func (d *deaf) whereIs(addr string) (files []string) {
	d.t.Helper()
	four := netip.MustParseAddr(addr).As4()
	err := filepath.WalkDir(d.opt.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte(addr)) || bytes.Contains(b, four[:]) {
			files = append(files, strings.TrimPrefix(path, d.opt.DataDir+"/"))
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return files
}

// works has the parts that write in the background do so until the test is over.
func (d *deaf) works() {
	ctx, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{d.writer.Run, d.journal.Run, d.notices.Run} {
		all.Go(func() { run(ctx) })
	}
	d.t.Cleanup(func() { end(); all.Wait() })
}

// After retention has passed and the box has looked, no byte of any file tells of an address of which nothing is kept any more: not of a
// case, of who held it, of records, of notices that nobody took, of budgets, of cards, nor of a database that was put aside. What is younger
// is there.
func TestNoFileHasAnAddressThatIsOverItsTime(t *testing.T) {
	t.Parallel()
	const old, held, young = "198.51.100.66", "198.51.100.77", "203.0.113.88"
	d := newDeaf(t, homePlans, homeList)
	d.cut()
	d.write("mailweir.yaml", homePlans+"notices: {webhooks: [{name: desk, url: 'http://127.0.0.1:9', secret_file: s}]}\nsyslog: {targets: [{url: 'tcp://127.0.0.1:9'}]}\nretention: {sessions: 30d, records: 60d}\n")
	d.write("s", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
	d.write("data/mailweir.db.damaged-20260901T000000.000Z", "what was known of "+old)
	if err := os.Chtimes(filepath.Join(d.dir, "data/mailweir.db.damaged-20260901T000000.000Z"), opened, opened); err != nil {
		t.Fatal(err)
	}
	d.start()
	d.works()

	sends := func(addr string) {
		t.Helper()
		src := netip.MustParseAddr(addr)
		for range 8 {
			d.session(addr+"/32", "strangers")
			d.writer.Say(records.Session(records.SessionFacts{Subscriber: addr + "/32", Src: netip.AddrPortFrom(src, 40000), Dst: netip.MustParseAddrPort("192.0.2.25:25"), Start: d.time(), End: d.time()}))
			d.observer.prints.See(clusters.Sighting{JA4: "t13d1516h2_8daaf6152771_e5627efa2ab1", Subscriber: addr + "/32", Network: netip.MustParsePrefix("192.0.2.0/24")}, d.time())
		}
		d.observer.save()
		d.save()
	}
	binds := func(addr string) {
		t.Helper()
		b := subscriber.Binding{Prefix: netip.MustParsePrefix(addr + "/32"), Source: subscriber.API, Subscriber: "home"}
		if _, err := d.who.Bind(b, d.time(), d.time()); err != nil {
			t.Fatal(err)
		}
		d.save()
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) { // some 150 rounds where a clock is on trial
			if time.Now().After(end) {
				t.Fatalf("not within two minutes: %s; %s is in %q", what, old, d.whereIs(old))
			}
		}
	}
	sends(old)
	binds(held)
	d.pass(time.Hour)
	if _, ok := d.who.Unbind(subscriber.API, netip.MustParsePrefix(held+"/32"), d.time(), d.time()); !ok {
		t.Fatal("nobody held it")
	}
	d.save()
	until("all have written", func() bool {
		there := strings.Join(d.whereIs(old), " ")
		return strings.Contains(there, "mailweir.db ") && strings.Contains(there, "damaged") && strings.Contains(there, "journal") && strings.Contains(there, "spool") && strings.Contains(there, "budgets")
	})
	until("the notices", func() bool { return d.notices.Status()[0].Waiting > 0 })

	for range 14 { // the case ends in the first of them
		d.pass(5*24*time.Hour + time.Minute)
		d.settled(d.gov.Tick(d.time()))
		for range 20 { // until all have been looked at
			d.gov.Tick(d.time())
		}
		d.forgetOld()
		d.who.Expire(d.time())
		d.save()
	}
	sends(young)
	binds(young)
	until("the journal", func() bool { return len(d.whereIs(young)) > 0 })
	d.pass(time.Minute)
	d.forgetOld()
	d.observer.save()
	d.save()
	if _, err := d.saver.writeSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left []string
	defer func() { t.Log("left in", left) }()
	until("all have swept", func() bool {
		d.pass(10 * time.Minute) // where the spool looked between those steps its clock is on trial, for a day
		d.forgetOld()            // as the box does again and again: a notice that is being tried, or a journal that is busy, waits for the next time
		d.eraser.erase(t.Context(), d.time().Add(-60*24*time.Hour))
		left = append(d.whereIs(old), d.whereIs(held)...)
		return len(left) == 0
	})
	there := strings.Join(d.whereIs(young), " ")
	for _, file := range []string{"mailweir.db", "journal/records-", "spool/", "budgets/"} {
		if !strings.Contains(there, file) {
			t.Errorf("%s does not have %s: %s", file, young, there)
		}
	}
	if n := d.observer.prints.Stats().Members; n != 1 { // what is packed cannot be seen in the file
		t.Errorf("%d senders are known by their prints", n)
	}
}
