package syslog

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/spool"
)

// A process that is killed proves nothing of what it sent: the next one sends it again, and says so. One that stops cleanly has nothing to repeat.
func TestWhatAKilledProcessSentIsSentAgainAndStated(t *testing.T) {
	t.Parallel()
	got := newCollected()
	addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { frames(t, conn, got) })
	src := newSource(t)
	cfg := Config{Targets: targets("tcp://" + addr)}
	x, _, stop := src.start(t, cfg)
	src.some(100)
	got.wait(t, "the first ones", all(1, 100))
	for deadline := time.Now().Add(20 * time.Second); x.Status()[0].Behind > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", x.Status())
		}
	}
	// What kill -9 leaves behind: the files as they are, the position as it is saved every second.
	dead := filepath.Join(t.TempDir(), "spool")
	var left *spool.Spool
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := os.RemoveAll(dead); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dead, os.DirFS(src.dir)); err != nil {
			t.Fatal(err)
		}
		var err error
		if left, err = spool.Open(spool.Options{Dir: dead, Limit: 64 << 20}); err != nil {
			t.Fatal(err)
		}
		if left.Reader(cfg.Targets[0].URL).Arrived(0) == 100 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what has arrived is not saved")
		}
	}
	stop()
	t.Cleanup(func() {
		if err := left.Close(); err != nil {
			t.Error(err)
		}
	})
	next := &source{t: t, spool: left}
	after, events, end := next.start(t, cfg)
	got.wait(t, "all once more", func(seqs map[uint64]int) bool {
		for i := uint64(1); i <= 100; i++ {
			if seqs[i] < 2 {
				return false
			}
		}
		return true
	})
	end()
	if e := events(); len(e) != 1 || e[0].What != Again || e[0].Count != 100 || e[0].FirstSeq != 1 || e[0].LastSeq != 100 || after.Status()[0].Again != 100 {
		t.Errorf("%+v, %+v", e, after.Status())
	}
	_, events, end = next.start(t, cfg) // that one ended cleanly
	end()
	if e := events(); len(e) > 0 {
		t.Errorf("after a clean stop: %+v", e)
	}
}
