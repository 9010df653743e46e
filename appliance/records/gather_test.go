package records

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Sessions and decisions wait for more of them to come; everything else is a record at once, and takes along what waits.
func TestOnlyWhatComesInPlentyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		said := make(chan Kind, 10)
		w := NewWriter(c, 64, time.Now, func(r Record) { said <- r.Kind })
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		session, audit := Session(SessionFacts{Start: time.Now(), End: time.Now()}), Audit(AuditFacts{Time: time.Now(), Who: "admin", What: "release"})
		for _, step := range []struct {
			why   string
			say   []Entry
			sleep time.Duration
			want  int
		}{
			{"alone", []Entry{audit}, 0, 1},
			{"the next one too", []Entry{audit}, 0, 2},
			{"a session waits", []Entry{session}, 0, 2},
			{"and another one with it", []Entry{session}, gatherFor - time.Millisecond, 2},
			{"until its time is over", nil, time.Millisecond, 4},
			{"or somebody is not to wait", []Entry{session, audit}, 0, 6},
		} {
			for _, e := range step.say {
				w.Say(e)
			}
			time.Sleep(step.sleep)
			if synctest.Wait(); len(said) != step.want {
				t.Errorf("%s: %d records, want %d", step.why, len(said), step.want)
			}
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
