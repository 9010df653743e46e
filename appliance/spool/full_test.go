package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// Full: sessions go, the oldest first, then audits, health last; the disk is never over the limit, and what is missing is what was said.
func TestAFullSpoolDropsSessionsFirstAndSaysWhich(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	b := newBox(t, Options{Limit: limit})
	most := int64(0)
	measure := func() {
		var sum int64
		all, _ := os.ReadDir(b.spool.opt.Dir)
		for _, e := range all {
			if info, err := e.Info(); err == nil {
				sum += info.Size()
			}
		}
		most = max(most, sum)
	}
	check := func(why string) {
		t.Helper()
		gone := map[uint64]bool{}
		for _, l := range b.losses {
			n := uint64(0)
			for _, numbers := range l.Numbers.Pieces() {
				piece := numbers.String()
				for word := range strings.SplitSeq(piece, ",") {
					var from, to uint64
					if k, _ := fmt.Sscanf(word, "%d-%d", &from, &to); k == 1 {
						to = from
					}
					for i := from; i <= to; i++ {
						gone[i] = true
						n++
					}
				}
			}
			if n != l.Numbers.Count() || l.Why != Full || !slices.Equal(l.Readers, []string{url}) {
				t.Errorf("%d numbers, said %d: %+v", n, l.Numbers.Count(), l)
			}
		}
		b.spool.Sync()
		b.reader.Seek(0)
		var want []uint64
		for i := uint64(1); i <= b.chain.Seq(); i++ {
			if !gone[i] {
				want = append(want, i)
			}
		}
		same(t, why, b.read(), want)
	}
	left := func() map[records.Kind]int {
		b.reader.Seek(0)
		n := map[records.Kind]int{}
		for _, seq := range b.read() {
			n[b.made[seq].Kind]++
		}
		return n
	}
	for range 300 {
		b.say(records.KindSession, 8)
		b.say(records.KindAudit, 1)
		b.say(records.KindHealth, 1)
		measure()
	}
	check("sessions went")
	if n := left(); n[records.KindSession] == 0 || n[records.KindSession] > 2000 || n[records.KindAudit] != 300 || n[records.KindHealth] != 300 {
		t.Errorf("left: %v", n)
	}
	for range 3000 {
		b.say(records.KindAudit, 1)
		measure()
	}
	check("audits went")
	if n := left(); n[records.KindSession] != 0 || n[records.KindAudit] > 3000 || n[records.KindHealth] != 300 {
		t.Errorf("left: %v", n)
	}
	for range 3500 {
		b.say(records.KindHealth, 1)
		measure()
	}
	check("health went")
	if n := left(); n[records.KindAudit] > 20 || n[records.KindHealth] > 3500 || n[records.KindHealth] < 1000 {
		t.Errorf("left: %v", n)
	}
	if most > limit {
		t.Errorf("%d bytes on the disk, the limit is %d", most, limit)
	}
	b.open(Options{Limit: limit, Dir: b.spool.opt.Dir})
	check("in the next life")
	b.reader.Ack(b.chain.Seq())
	known := len(b.losses)
	b.say(records.KindSession, 3000)
	if len(b.losses) == known {
		t.Error("nothing was lost")
	}
	for _, l := range b.losses[known:] {
		if l.Numbers.First() < 9301 {
			t.Errorf("what everybody had is said to be lost: %+v", l)
		}
	}
}

func TestWhatIsOlderThanItsRetentionGoesAndIsStated(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Sessions: 24 * time.Hour, Records: 48 * time.Hour})
	for range 72 {
		b.say(records.KindSession, 2)
		b.say(records.KindAudit, 1)
		b.spool.Sync()
		b.at = b.at.Add(time.Hour)
	}
	b.spool.Expire(b.at)
	b.reader.Seek(0)
	n := map[records.Kind]int{}
	for _, seq := range b.read() {
		n[b.made[seq].Kind]++
	}
	if n[records.KindSession] != 48 || n[records.KindAudit] != 48 {
		t.Errorf("%v are left of three days, an hour each", n)
	}
	var lost uint64
	for _, l := range b.losses {
		if lost += l.Numbers.Count(); l.Why != Expired {
			t.Errorf("%+v", l)
		}
	}
	if lost != 72*3-96 {
		t.Errorf("%d stated", lost)
	}
	all, _ := filepath.Glob(filepath.Join(b.spool.opt.Dir, "*"))
	for _, path := range all {
		data, _ := os.ReadFile(path)
		for seq, r := range b.made {
			if r.Kind == records.KindSession && r.Time.Before(b.at.Add(-24*time.Hour)) && strings.Contains(string(data), r.Value("event")) {
				t.Fatalf("record %d is still in %s", seq, path)
			}
		}
	}
	b.at = b.at.Add(1000 * time.Hour)
	b.spool.Expire(b.at)
	b.spool.Expire(b.at) // the one that was written to
	if st := b.spool.Stat(); st.Records != 0 {
		t.Errorf("%+v", st)
	}
	last, hash := b.spool.Last()
	b.open(Options{Dir: b.spool.opt.Dir})
	if seq, h := b.spool.Last(); seq != last || h != hash || hash == "" {
		t.Errorf("an empty spool knows %d %s, before %d %s", seq, h, last, hash)
	}
}

// A segment that is written anew, or joined to another, says that it was last written when its youngest record was: once it cannot be read it goes by that.
func TestWhatIsWrittenAnewKeepsItsTime(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{Sessions: 24 * time.Hour, Records: 1000 * time.Hour})
	for range 72 {
		b.say(records.KindSession, 2)
		b.say(records.KindAudit, 1)
		b.spool.Sync()
		b.at = b.at.Add(time.Hour)
	}
	youngest := map[uint64]time.Time{} // of the segment that has a record
	for i, g := range b.spool.segments {
		if g.file != nil {
			continue
		}
		at := b.at.Add(time.Duration(i*7%11-1000) * time.Hour).Truncate(time.Second) // of two that are joined either may be the younger one
		if err := os.Chtimes(g.path, at, at); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			at = b.at.Add(1000 * time.Hour) // by a clock that was ahead
			if err := os.Chtimes(g.path, at, at); err != nil {
				t.Fatal(err)
			}
			at = b.at
		}
		for seq := g.after + 1; seq <= g.last; seq++ {
			youngest[seq] = at
		}
	}
	b.spool.Expire(b.at)
	anew := 0
	for _, g := range b.spool.segments {
		if g.version == 0 {
			continue
		}
		anew++
		var want time.Time
		for seq := g.after + 1; seq <= g.last; seq++ {
			if at := youngest[seq]; at.After(want) {
				want = at
			}
		}
		info, err := os.Stat(g.path)
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(want) {
			t.Errorf("%s with %d to %d was last written %v, want %v", g.path, g.after+1, g.last, info.ModTime(), want)
		}
	}
	if anew == 0 {
		t.Error("nothing was written anew")
	}
}
