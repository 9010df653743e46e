package notices

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// What was delivered, or given up as refused, is on no disk any more, and does not come again in the next life.
func TestWhatIsSettledIsOffTheDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		d.answer(func(n Notice) error {
			if n.Subscriber == "S-poison" {
				return &refusal{"it answers 400 Bad Request"}
			}
			return nil
		})
		w.run(map[string]*desk{"desk": d})
		w.take(stage("S-1", governor.StageWarn, governor.StageCut))
		w.take(stage("S-poison", governor.StageWarn, governor.StageCut))
		time.Sleep(2 * 24 * time.Hour)
		w.stop()
		if st := w.Status()[0]; st.Delivered != 1 || st.Given != 1 {
			t.Fatalf("%+v", st)
		}
		if err := emptyShelf(dir); err != nil {
			t.Error(err)
		}

		w, d = newWorld(t, dir), &desk{}
		w.run(map[string]*desk{"desk": d})
		synctest.Wait()
		w.stop()
		if d.tried > 0 {
			t.Errorf("in the next life came %q", d.texts())
		}
	})
}

// A target that says when to come again is left alone until then, but no longer than longestAsked.
func TestATargetIsLeftAloneAsLongAsItAsks(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		asked := []time.Duration{30 * time.Minute, 24 * time.Hour}
		began, tried := time.Now(), []time.Duration(nil)
		d.answer(func(Notice) error {
			tried = append(tried, time.Since(began))
			if n := len(tried); n <= len(asked) {
				return &unreachable{why: "it answers 503 Service Unavailable", after: asked[n-1]}
			}
			return nil
		})
		w.run(map[string]*desk{"desk": d})
		synctest.Wait() // until the targets are new no more, which are tried at once
		w.take(stage("S-1", governor.StageWarn, governor.StageCut))
		time.Sleep(3 * time.Hour)
		w.stop()
		if want := []time.Duration{0, asked[0], asked[0] + longestAsked}; !slices.Equal(tried, want) {
			t.Errorf("tried after %v, want %v", tried, want)
		}
	})
}
