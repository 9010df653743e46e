package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// What is made while a collector is taken out of the configuration it never gets, although another one's records are kept: that is told when it comes back, and told again in the next life
// where this one dies before a record says so. What nobody kept is told as that, and not twice.
func TestWhatACollectorMissedWhileItWasNotConfiguredIsTold(t *testing.T) {
	t.Parallel()
	const back = "relp://192.0.2.2:2514"
	for _, row := range []struct {
		why              string
		stays, restarted bool
		want             string
	}{
		{"another one stays", true, false, Absent + " 6-10"},
		{"another one stays, and the box starts anew meanwhile", true, true, Absent + " 6-10"},
		{"none stays", false, false, Unwanted + " 6-10"},
		{"none stays, and the box starts anew meanwhile", false, true, Unwanted + " 6-10"},
	} {
		b := newBox(t, Options{})
		keep := []string{url}
		r := b.spool.Reader(back)
		r.Seek(0)
		b.say(records.KindAudit, 5)
		b.spool.Sync()
		r.Ack(5)
		r.Taken(5)
		r.Close()
		if !row.stays {
			keep = nil
			b.reader.Ack(5)
			b.reader.Taken(5)
			b.reader.Close()
		}
		if err := b.spool.Only(keep); err != nil {
			t.Fatal(err)
		}
		b.say(records.KindAudit, 5)
		if row.restarted {
			if err := b.spool.Close(); err != nil {
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: b.spool.opt.Dir, After: b.chain.Seq(), Now: func() time.Time { return b.at }, OnLoss: func(l Loss) { b.losses = append(b.losses, l) }})
			if err != nil {
				t.Fatal(err)
			}
			b.spool = s
			b.chain.Before(s.Append)
			for _, name := range keep {
				s.Reader(name)
			}
		}
		b.losses = nil
		r = b.spool.Reader(back)
		told := func() (all []string) {
			for _, l := range b.losses {
				if !slices.Equal(l.Readers, []string{back}) {
					t.Errorf("%s: told of %v", row.why, l.Readers)
				}
				all = append(all, l.Why+" "+l.Numbers.String())
			}
			return all
		}
		if got := told(); !slices.Equal(got, []string{row.want}) {
			t.Errorf("%s: told %q, want %q", row.why, got, row.want)
		}
		if marks, _ := filepath.Glob(filepath.Join(b.spool.opt.Dir, absentPrefix+"*")); len(marks) > 0 {
			t.Errorf("%s: %v", row.why, marks)
		}
		b.say(records.KindAudit, 1)
		b.spool.Sync()
		if items, err := r.Next(10); err != nil || len(items) != 1 || items[0].Seq != 11 {
			t.Errorf("%s: it gets %v, %v", row.why, items, err)
		}
		if !row.stays {
			continue // as ever
		}
		if err := b.spool.Close(); err != nil {
			t.Fatal(err)
		}
		b.losses = nil
		b.open(Options{Dir: b.spool.opt.Dir}) // nobody has said it
		if got := told(); !slices.Equal(got, []string{row.want}) {
			t.Errorf("%s: in the next life %q", row.why, got)
		}
		b.spool.Reader(back)
		b.stateLosses()
		b.spool.Sync()
		b.spool.settle()
		if left := b.owedFiles(); len(left) > 0 {
			t.Errorf("%s: it was said, and %v is left", row.why, left)
		}
		if missing, err := unstated(t.Context(), b.spool.opt.Dir, 0, 5); err != nil || len(missing) > 0 {
			t.Errorf("%s: %v, %v", row.why, missing, err)
		}
	}
}

// That one collector was told of numbers says nothing of the spool: it has them for others, and where they are missing in it that is found.
func TestWhatOneCollectorMissedExplainsNoGapInTheSpool(t *testing.T) {
	t.Parallel()
	for why, one := range map[string]bool{Absent: true, Forgotten: true, Unwanted: false, Full: false} {
		for _, f := range (Loss{Why: why, Numbers: records.Ranges{6, 10}, Readers: []string{"relp://192.0.2.2:2514"}}).Facts() {
			if ofOne(f.Detail) != one {
				t.Errorf("%q: %v", f.Detail, !one)
			}
		}
	}
}

// Marks of collectors that never come back do not become more and more.
func TestMarksOfCollectorsThatAreGoneAreBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 3)
	name := func(i int) string { return positionPath(b.spool.opt.Dir, fmt.Sprintf("relp://192.0.2.%d", i)) }
	for i := range mostAbsent + 3 {
		b.spool.leaves(name(i))
		when := b.at.Add(time.Duration(i-mostAbsent-3) * time.Hour)
		if err := os.Chtimes(absentPath(name(i)), when, when); err != nil {
			t.Fatal(err)
		}
	}
	if marks, _ := filepath.Glob(filepath.Join(b.spool.opt.Dir, absentPrefix+"*")); len(marks) != mostAbsent {
		t.Errorf("%d marks", len(marks))
	}
	if first, last := b.spool.left(name(0)), b.spool.left(name(mostAbsent+2)); first != 0 || last != 3 {
		t.Errorf("the oldest is %d, the newest %d", first, last)
	}
	if err := os.WriteFile(absentPath(name(9)), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if seq := b.spool.left(name(9)); seq != 0 {
		t.Errorf("of one that cannot be read: %d", seq)
	}
}
