package syslog

import (
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/mailweir/mailweir/appliance/spool"
)

// A collector that is renamed while it is away loses what it had not got, and that is stated; one that is not used yet had nothing coming.
func TestTheBacklogOfACollectorThatIsNotConfiguredAnyMoreIsStated(t *testing.T) {
	t.Parallel()
	const old, renamed, never = "tcp://127.0.0.1:1", "udp://127.0.0.1:9", "relp://127.0.0.1:1"
	var mu sync.Mutex
	var losses []spool.Loss
	lost := func(l spool.Loss) {
		mu.Lock()
		defer mu.Unlock()
		losses = append(losses, l)
	}
	for why, restarted := range map[string]bool{"by a reload": false, "by a restart": true} {
		losses = nil
		src := newSourceIn(t, spool.Options{Limit: 64 << 20, OnLoss: lost})
		_, _, stop := src.start(t, Config{Targets: targets(old)})
		src.some(50)
		src.spool.Reader(never)
		s := src.spool
		s.Reader(renamed)
		src.some(10)
		if restarted {
			stop()
			var err error
			if s, err = spool.Open(spool.Options{Dir: src.dir, Limit: 64 << 20, OnLoss: lost}); err != nil {
				t.Fatal(err)
			}
			s.Reader(renamed)
			s.Reader(never)
		}
		if err := s.Only([]string{renamed, never}); err != nil {
			t.Fatal(err)
		}
		if err := s.Only([]string{renamed}); err != nil {
			t.Fatal(err)
		}
		stop()
		mu.Lock()
		i := slices.IndexFunc(losses, func(l spool.Loss) bool { return slices.Equal(l.Readers, []string{old}) })
		if i < 0 || losses[i].Why != spool.Forgotten || losses[i].Numbers.String() != "1-60" || !restarted && len(losses) != 1 {
			t.Errorf("%s: %+v", why, losses)
		}
		mu.Unlock()
		if all, _ := filepath.Glob(filepath.Join(src.dir, "position-*")); len(all) != 1 {
			t.Errorf("%s: %v", why, all)
		}
	}
}

// A collector that acknowledges what it has stored leaves nothing in doubt when it is taken out of the configuration.
func TestNothingIsInDoubtOfACollectorThatAcknowledges(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var losses []spool.Loss
	src := newSourceIn(t, spool.Options{Limit: 64 << 20, OnLoss: func(l spool.Loss) {
		mu.Lock()
		defer mu.Unlock()
		losses = append(losses, l)
	}})
	got := newCollected()
	addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { refusing(t, conn, got, 0) })
	_, _, stop := src.start(t, Config{Targets: targets("relp://" + addr)})
	src.some(60)
	got.wait(t, "all", all(1, 60))
	stop()
	if err := src.spool.Only(nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(losses) > 0 {
		t.Errorf("told %+v", losses)
	}
}
