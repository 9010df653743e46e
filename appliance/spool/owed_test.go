package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
)

// owedFiles are what the spool keeps of readers that it forgot.
func (b *box) owedFiles() []string {
	files, _ := filepath.Glob(filepath.Join(b.spool.opt.Dir, owedPrefix+"*"))
	return files
}

// What a collector had not got when it was taken out of the configuration is told until a record says so and is on the disk, in the next life again where this one dies before; also of one that
// was still being sent to, and of one whose position cannot be read.
func TestWhatAForgottenCollectorHadNotGotIsToldUntilItIsSaid(t *testing.T) {
	t.Parallel()
	const other = "relp://192.0.2.2:2514"
	forgotten := func(b *box) bool {
		return len(b.losses) == 1 && b.losses[0].Why == Forgotten && b.losses[0].Numbers.String() == "3-10" && slices.Equal(b.losses[0].Readers, []string{url})
	}
	for _, row := range []struct {
		why   string
		using bool // a connection is open
		stays bool // another collector is configured
	}{{"alone", false, false}, {"beside another", false, true}, {"while it is used", true, true}} {
		b := newBox(t, Options{})
		o := Options{Dir: b.spool.opt.Dir}
		var keep []string
		if row.stays {
			keep = []string{other}
			b.spool.Reader(other)
		}
		b.reader.Seek(0)
		b.say(records.KindAudit, 10)
		b.spool.Sync()
		b.reader.Ack(2)
		b.spool.save(false)
		if !row.using {
			b.reader.Close()
		}
		if err := b.spool.Only(keep); err != nil {
			t.Fatal(err)
		}
		if row.using { // the process dies before the connection ends
			if len(b.losses) > 0 {
				t.Errorf("%s: told %v while it may still get them", row.why, b.losses)
			}
		} else if !forgotten(b) {
			t.Errorf("%s: told %v", row.why, b.losses)
		}
		for _, life := range []string{"the next life", "the one after"} { // nobody has said it
			b.losses = nil
			s, err := Open(Options{Dir: o.Dir, After: b.chain.Seq(), OnLoss: func(l Loss) { b.losses = append(b.losses, l) }})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range keep {
				s.Reader(name)
			}
			if err := s.Only(keep); err != nil {
				t.Fatal(err)
			}
			b.spool = s
			b.chain.Before(s.Append)
			if !forgotten(b) {
				t.Errorf("%s, %s: told %v", row.why, life, b.losses)
			}
		}
		if len(b.owedFiles()) != 1 {
			t.Errorf("%s: %v", row.why, b.owedFiles())
		}
		b.spool.settle()
		if len(b.owedFiles()) != 1 {
			t.Errorf("%s: taken back before it was said", row.why)
		}
		for _, l := range b.losses {
			for _, f := range l.Facts() {
				f.Time = b.at
				b.chain.Append(records.Health(f), b.at)
			}
		}
		b.spool.settle()
		if len(keep) > 0 && len(b.owedFiles()) != 1 { // without any reader nothing is kept
			t.Errorf("%s: taken back before what says it is on the disk", row.why)
		}
		b.spool.Sync()
		b.spool.settle()
		if left := b.owedFiles(); len(left) > 0 {
			t.Errorf("%s: %v is left", row.why, left)
		}
		b.losses = nil
		b.open(o)
		if slices.ContainsFunc(b.losses, func(l Loss) bool { return l.Why == Forgotten }) {
			t.Errorf("%s: told again, %v", row.why, b.losses)
		}
	}

	b := newBox(t, Options{})
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	if err := errors.Join(b.spool.Close(), os.WriteFile(positionPath(b.spool.opt.Dir, url), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: b.spool.opt.Dir, OnLoss: func(l Loss) { b.losses = append(b.losses, l) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Only(nil); err != nil {
		t.Fatal(err)
	}
	if len(b.losses) != 1 || b.losses[0].Numbers.String() != "1-10" {
		t.Errorf("of a position that cannot be read: %v", b.losses)
	}
}

// Of two collectors that are taken out at once, the record about one, whatever it says is missing, does not tell what the other has not got.
func TestEachOfTwoForgottenCollectorsIsTold(t *testing.T) {
	t.Parallel()
	const other, stays = "relp://192.0.2.2:2514", "relp://192.0.2.3:2514"
	b := newBox(t, Options{})
	second := b.spool.Reader(other)
	b.spool.Reader(stays)
	b.reader.Seek(0)
	second.Seek(0)
	b.say(records.KindAudit, 20)
	b.spool.Sync()
	second.Ack(10)
	second.Taken(10) // nothing but the name tells the two apart
	b.reader.Close()
	second.Close()
	b.losses = nil
	if err := b.spool.Only([]string{stays}); err != nil {
		t.Fatal(err)
	}
	if len(b.losses) != 2 {
		t.Fatalf("told %+v", b.losses)
	}
	b.losses = slices.DeleteFunc(b.losses, func(l Loss) bool { return l.Readers[0] == other })
	b.stateLosses() // of the wider one; the process dies before the record about the other
	b.spool.settle()
	if left := b.owedFiles(); len(left) != 1 {
		t.Errorf("after the record about one: %v", left)
	}
	b.losses = nil
	b.open(Options{Dir: b.spool.opt.Dir})
	b.losses = slices.DeleteFunc(b.losses, func(l Loss) bool { return l.Why == Absent }) // of the first one, which comes back with it
	if len(b.losses) != 1 || !slices.Equal(b.losses[0].Readers, []string{other}) || b.losses[0].Numbers.String() != "11-20" {
		t.Errorf("the next life tells %+v", b.losses)
	}
}
