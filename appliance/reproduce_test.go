package appliance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
)

// A bad sector accuses nobody: whatever byte of a journal is damaged, and whichever of its files is gone, before and after the box has opened
// it again, what was decided before is the same, and of the rest it is said that it could not be checked.
func TestDamageAccusesNobody(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, fmt.Sprintf(ladderPlans, 20), homeList)
	batch := func() {
		for range 3 { // frames of a file
			d.sends("100.64.0.1", 12)
			d.sends("203.0.113.9", 2)
			d.journaled()
		}
		for range 8 { // to another file; a box that runs ticks all the time
			for range 60 {
				d.pass(time.Minute)
				d.settled(d.gov.Tick(d.time()))
			}
			d.journaled()
		}
		d.save()
	}
	for range 3 {
		batch()
	}
	d.gov.Stop(d.time())
	d.journaled()
	d.cut()
	d.start() // another life, so that what was not written down in the first would be told
	batch()
	d.journaled()
	whole := d.whatIf(WhatIfOptions{}).Recorded
	if whole.Same < 50 || whole.OnlyThen+whole.OnlyNow+whole.Unchecked > 0 {
		t.Fatalf("%+v", whole)
	}
	from := journal.Dir(filepath.Join(d.dir, "data"))
	files, err := filepath.Glob(filepath.Join(from, "*.seg"))
	if err != nil || len(files) < 6 {
		t.Fatalf("%v: %v", files, err)
	}
	unchecked := 0
	check := func(why string, bend func(dir string) error, openFirst bool) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "journal")
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		if err := bend(dir); err != nil {
			t.Fatal(err)
		}
		if openFirst {
			j, _, err := journal.Open(journal.Options{Dir: dir, Bounds: journal.Bounds{Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour, Bytes: 64 << 20}})
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		r, err := WhatIf(context.Background(), WhatIfOptions{Journal: dir})
		if err != nil {
			t.Errorf("%s: %v", why, err)
			return
		}
		if rec := r.Recorded; rec.OnlyThen+rec.OnlyNow > 0 {
			t.Errorf("%s: %d the same, %d only then, %d only now, %d unchecked\n%v", why, rec.Same, rec.OnlyThen, rec.OnlyNow, rec.Unchecked, rec.Examples)
		} else {
			unchecked += rec.Unchecked
		}
	}
	for _, path := range files {
		name := filepath.Base(path)
		for _, open := range []bool{false, true} {
			for eighth := range 8 {
				check(fmt.Sprintf("%s damaged at %d/8, opened again %v", name, eighth, open), func(dir string) error {
					data, err := os.ReadFile(filepath.Join(dir, name))
					if err != nil {
						return err
					}
					data = slices.Clone(data)
					data[max(60, len(data)*eighth/8)] ^= 1 // behind what every file begins with
					return os.WriteFile(filepath.Join(dir, name), data, 0o600)
				}, open)
			}
			check(fmt.Sprintf("%s gone, opened again %v", name, open), func(dir string) error { return os.Remove(filepath.Join(dir, name)) }, open)
		}
	}
	if unchecked == 0 {
		t.Error("all could be checked")
	}
}
