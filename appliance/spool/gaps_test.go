package spool

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// said has the box say its losses so far as HEALTH records, as package appliance does.
func (b *box) stateLosses() {
	losses := b.losses
	b.losses = nil
	for _, l := range losses {
		for _, f := range l.Facts() {
			f.Time = b.at
			r := b.chain.Append(records.Health(f), b.at)
			b.made[r.Seq] = r
		}
	}
	b.spool.Sync()
}

// missing are the numbers up to last that the spool does not have.
func (b *box) missing(last uint64) (gone []uint64) {
	b.t.Helper()
	there := map[uint64]bool{}
	if err := Each(b.spool.opt.Dir, func(p Place) error {
		if p.Record != nil {
			there[p.Record.Seq] = true
		}
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
	for seq := uint64(1); seq <= last; seq++ {
		if !there[seq] {
			gone = append(gone, seq)
		}
	}
	return gone
}

// A process that dies after it made room and before it said so, a damaged line, a file that could not be read: the life after says exactly which numbers are missing, once, and not
// what was said already; and reads nothing where nothing is missing.
func TestWhatNobodySaidIsMissingIsSaidAfterAStart(t *testing.T) {
	t.Parallel()
	o := Options{Limit: 1 << 20}
	b := newBox(t, o)
	o.Dir = b.spool.opt.Dir
	fill := func() {
		for i := range 3000 {
			b.say([]records.Kind{records.KindSession, records.KindHealth, records.KindSession}[i%3], 1)
		}
		b.spool.Sync()
	}
	fill()
	if len(b.losses) == 0 {
		t.Fatal("the spool is not full")
	}
	b.stateLosses()
	stated := b.missing(b.chain.Seq())
	fill()
	last := b.chain.Seq()
	b.losses = nil // nobody said it: kill -9
	all := b.missing(last)
	var unsaid []uint64
	for _, seq := range all {
		if !slices.Contains(stated, seq) {
			unsaid = append(unsaid, seq)
		}
	}
	b.open(o)
	b.say(records.KindHealth, 1)
	b.spool.stateGaps(t.Context())
	lost, whys := b.lost()
	same(t, "what nobody had said", lost, unsaid)
	if !slices.Equal(whys, []string{Missing}) || !slices.Equal(b.losses[0].Readers, []string{url}) {
		t.Errorf("%v, %v", whys, b.losses[0].Readers)
	}
	b.stateLosses()
	b.open(o)
	b.spool.stateGaps(t.Context())
	if lost, _ := b.lost(); len(lost) > 0 {
		t.Errorf("said again: %v", lost)
	}

	// Damage.
	b.losses = nil
	o = Options{}
	b = newBox(t, o)
	o.Dir = b.spool.opt.Dir
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	b.at = b.at.Add(2 * rotateAfter)
	b.say(records.KindAudit, 10)
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(o.Dir, "*"+suffix))
	if len(files) != 2 {
		t.Fatal(files)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(files[0], 0o700); err != nil { // reading it fails
		t.Fatal(err)
	}
	content, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	lines[3] = strings.Replace(lines[3], "admin", "nobod", 1)
	if err := os.WriteFile(files[1], []byte(strings.Join(lines[:8], "")), 0o600); err != nil { // the third of 11 to 17 is damaged
		t.Fatal(err)
	}
	b.open(o)
	b.reader.Ack(4)
	b.spool.stateGaps(t.Context())
	lost, _ = b.lost()
	same(t, "damaged", lost, append(numbers(5, 10), 13))
}

// It is Run that looks, beside everything else, and what goes meanwhile is not said twice.
func TestRunSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	o := Options{}
	b := newBox(t, o)
	o.Dir = b.spool.opt.Dir
	b.say(records.KindAudit, 10)
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(o.Dir, "*"+suffix))
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	if err := os.WriteFile(files[0], []byte(strings.Join(slices.Delete(lines, 4, 6), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cut := range []bool{true, false} { // a trailer that vouches for the file, and none
		b.losses = nil
		b.open(o)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.spool.Run(ctx) }()
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
			b.spool.mu.Lock()
			looks := b.spool.looks
			b.spool.mu.Unlock()
			if !looks {
				break
			}
		}
		end()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		lost, _ := b.lost()
		same(t, "removed", lost, []uint64{4, 5})
		if cut {
			if err := os.Truncate(files[0], int64(len(strings.Join(lines[:7], "")))); err != nil {
				t.Fatal(err)
			}
			_ = b.spool.Close()
		}
	}
}
