package appliance

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
)

// framesOf are the offsets of the frames of a journal's file, and its end.
func framesOf(data []byte) (at []int) {
	for n := 0; n+8 <= len(data); n += 8 + int(binary.LittleEndian.Uint32(data[n:])) {
		at = append(at, n)
	}
	return append(at, len(data))
}

// newestOf is the last file of a family of the box's journal.
func (d *deaf) newestOf(family string) string {
	d.t.Helper()
	all, err := filepath.Glob(filepath.Join(journal.Dir(filepath.Join(d.dir, "data")), family+"-*.seg"))
	if err != nil || len(all) == 0 {
		d.t.Fatal(all, err)
	}
	return slices.Max(all)
}

// loses takes the last frames of the newest file of a family, as a power cut does, with the last of them half written.
func (d *deaf) loses(family string, frames int) {
	d.t.Helper()
	if frames == 0 {
		return
	}
	path := d.newestOf(family)
	data, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	at := framesOf(data)
	if err := os.Truncate(path, int64(at[max(1, len(at)-1-frames)]+9)); err != nil {
		d.t.Fatal(err)
	}
}

// slowly is sends, written to the journal after each session.
func (d *deaf) slowly(from string, n int) {
	d.t.Helper()
	for range n {
		d.sends(from, 1)
		d.journaled()
	}
}

// A crash or a power cut accuses nobody: whatever it took of the records and of what the governor was told, with a state of the chain from before,
// so that numbers are given again, with the begin of the next life damaged, and with a clock that was set back meanwhile.
func TestACrashAccusesNobody(t *testing.T) {
	t.Parallel()
	for _, clock := range []time.Duration{time.Minute, -5 * time.Second, -30 * time.Minute} {
		for _, damaged := range []bool{false, true} {
			for _, inOrder := range []bool{false, true} {
				for _, lost := range [][2]int{{0, 0}, {12, 0}, {0, 12}, {12, 3}, {3, 12}} {
					why := fmt.Sprintf("clock %v, begin damaged %v, first life in order %v, %d frames of records and %d of inputs lost", clock, damaged, inOrder, lost[0], lost[1])
					t.Run(why, func(t *testing.T) {
						t.Parallel()
						crashes(t, clock, damaged, inOrder, lost)
					})
				}
			}
		}
	}
}

func crashes(t *testing.T, clock time.Duration, damaged, inOrder bool, lost [2]int) {
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	state := filepath.Join(d.dir, "data", "records.state")
	d.slowly("100.64.0.1", 8)
	before, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	crash := func() {
		t.Helper()
		d.cut()
		d.loses("records", lost[0])
		d.loses("inputs", lost[1])
		if err := os.WriteFile(state, before, 0o600); err != nil {
			t.Fatal(err)
		}
		d.pass(clock)
	}
	d.slowly("100.64.0.1", 12)
	if inOrder {
		d.gov.Stop(d.time())
		d.journaled()
		d.cut()
		d.pass(clock)
	} else {
		crash()
	}
	d.start()
	d.slowly("100.64.0.1", 4)
	begin := d.newestOf("inputs")
	d.gov.Checkpoint(d.time, d.journal.Room)
	d.slowly("100.64.0.1", 12)
	if damaged {
		data, err := os.ReadFile(begin)
		if err != nil {
			t.Fatal(err)
		}
		data[framesOf(data)[1]+20] ^= 1
		if err := os.WriteFile(begin, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	crash()
	d.start()
	d.slowly("100.64.0.2", 4)
	rec := d.whatIf(WhatIfOptions{}).Recorded
	if rec.OnlyThen+rec.OnlyNow > 0 || rec.Same < 10 {
		t.Errorf("%d the same, %d only then, %d only now, %d cut off, %d unchecked\n%s", rec.Same, rec.OnlyThen, rec.OnlyNow, rec.CutOff, rec.Unchecked, strings.Join(rec.Examples, "\n"))
	}
	if lost == [2]int{} && !damaged && clock > 0 && rec.CutOff+rec.Unchecked > 0 {
		t.Errorf("%d cut off, %d unchecked, and nothing was lost", rec.CutOff, rec.Unchecked)
	}
}

// What is missing of what the governor was told says why and where, above all what an earlier version wrote in another form.
func TestWhatIsMissingSaysWhy(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	d.slowly("100.64.0.1", 8)
	d.cut()
	path := d.newestOf("inputs")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := framesOf(data)
	for _, n := range []int{2, 3} { // as inputs were before states became binary
		frame := data[at[n]:at[n+1]]
		frame[8] = 'I'
		binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], crc32.MakeTable(crc32.Castagnoli)))
	}
	data[at[5]+9] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := WhatIf(t.Context(), WhatIfOptions{Journal: journal.Dir(filepath.Join(d.dir, "data"))})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Lacks) != 2 || r.Missing != 3 || r.Lacks[0].Places != 2 || r.Lacks[0].File != filepath.Base(path) || r.Lacks[0].Files != 1 ||
		!strings.Contains(r.Lacks[0].Why, "earlier version of mailweir") || !strings.Contains(r.Lacks[1].Why, "damaged") {
		t.Errorf("%d missing: %+v", r.Missing, r.Lacks)
	}
	if text, err := json.Marshal(r.View()); err != nil || !strings.Contains(string(text), `"missing":3,"missing_why":[{"why":"they were written by an earlier version of mailweir, in a form that this one does not read","places":2,"file":"inputs-`) {
		t.Errorf("%s, %v", text, err)
	}
}
