package notices

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// What a target did not take within MaxAge is given up, told by the numbers of its records, and on no disk any more; what is
// younger waits on.
func TestANoticeWaitsNoLongerThanItMay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		d.answer(func(Notice) error { return errors.New("no route to host") })
		w.run(map[string]*desk{"desk": d})
		for i := range 25 { // of which five become a digest
			w.take(stage(fmt.Sprint("198.51.100.", i), governor.StageWarn, governor.StageCut))
		}
		synctest.Wait()
		time.Sleep(2 * 24 * time.Hour)
		w.take(stage("192.0.2.99", governor.StageWarn, governor.StageCut))
		synctest.Wait()
		time.Sleep(5*24*time.Hour - time.Minute)
		w.Expire(time.Now())
		synctest.Wait()
		if st := w.Status()[0]; st.Waiting != 22 || st.Given != 0 || len(w.lost) != 0 {
			t.Fatalf("before their time: %+v, %q", st, w.lost)
		}
		w.stop()

		w, d = newWorld(t, dir), &desk{} // which a restart does not prolong
		d.answer(func(Notice) error { return errors.New("no route to host") })
		w.run(map[string]*desk{"desk": d})
		time.Sleep(2 * time.Minute)
		w.Expire(time.Now())
		synctest.Wait()
		if st := w.Status()[0]; st.Waiting != 1 || st.Given != 21 {
			t.Errorf("after their time: %+v", st)
		}
		if len(w.lost) != 2 || !strings.HasPrefix(w.lost[0], "desk 1 waited since before 20") || !strings.HasSuffix(w.lost[0], "digests") ||
			!strings.HasPrefix(w.lost[1], "desk 20 waited") || !strings.HasSuffix(w.lost[1], "of the records 1-20") || strings.Contains(w.lost[1], "198.51") {
			t.Errorf("told %q", w.lost)
		}
		if _, err := w.store.WipeFree(t.Context()); err != nil {
			t.Error(err)
		}
		disk, err := os.ReadFile(filepath.Join(dir, "mailweir.db"))
		if err != nil || bytes.Contains(disk, []byte("198.51.100.")) || !bytes.Contains(disk, []byte("192.0.2.99")) {
			t.Errorf("the old ones are on the disk, or the new one is not (%v)", err)
		}

		// What was held back for a digest is not older than others.
		for i := range 25 {
			w.take(stage(fmt.Sprint("203.0.113.", i), governor.StageWarn, governor.StageCut))
		}
		synctest.Wait()
		w.lost = nil
		w.Expire(time.Now().Add(8 * 24 * time.Hour))
		synctest.Wait()
		if st := w.Status()[0]; st.Waiting != 0 || len(w.lost) != 2 || !strings.HasPrefix(w.lost[0], "all targets 5 held back for a digest of stage.changed") {
			t.Errorf("%+v, told %q", st, w.lost)
		}
		w.stop()
		if err := emptyShelf(dir); err != nil {
			t.Error(err)
		}
	})
}
