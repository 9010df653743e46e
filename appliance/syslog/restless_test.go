package syslog

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Some ends in a row after the same quiet time show a habit, for a day; others, such as a collector's restarts, do not.
func TestAHabitOfEndingQuietConnections(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, row := range []struct {
		why   string
		quiet []time.Duration
		idle  time.Duration
		habit bool // of the last end
	}{
		{"three ends", []time.Duration{60 * s, 60 * s, 60 * s}, 0, false},
		{"restarts", []time.Duration{60 * s, 7 * s, 200 * s, 12 * s, 55 * s, 60 * s, 61 * s, 9 * s}, 0, false},
		{"four", []time.Duration{60 * s, 61 * s, 60 * s, 60 * s}, 45 * s, true},
		{"a restart between", []time.Duration{60 * s, 60 * s, 60 * s, 5 * s, 60 * s, 60 * s, 60 * s}, 0, false},
		{"a restart behind", []time.Duration{60 * s, 60 * s, 60 * s, 60 * s, 5 * s}, 45 * s, false},
		{"at once", slices.Repeat([]time.Duration{10 * time.Millisecond}, 9), 0, false},
		{"shorter now", append(slices.Repeat([]time.Duration{60 * s}, 4), slices.Repeat([]time.Duration{30 * s}, 4)...), 22500 * time.Millisecond, true},
	} {
		var r restless
		now := time.Now()
		habit := false
		for _, q := range row.quiet {
			now = now.Add(q)
			habit = r.ended(q, now)
		}
		if got := r.idle(now.Add(habitLasts - 10*s)); got != row.idle || habit != row.habit {
			t.Errorf("%s: %v, %v", row.why, got, habit)
		}
		if got := r.idle(now.Add(habitLasts + 300*s)); got != 0 {
			t.Errorf("%s: %v is believed for ever", row.why, got)
		}
	}
}

// A collector that is restarted again and again at any time is not taken for one that ends quiet connections.
func TestRestartsAreNoHabit(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	believed := 0
	const collectors = 2000
	for range collectors {
		var r restless
		now := time.Now()
		for range 50 { // each at any time after a record, of which one comes a minute on average
			q := time.Duration(random.ExpFloat64() * float64(time.Minute))
			now = now.Add(time.Hour)
			r.ended(q, now)
			if r.idle(now) > 0 {
				believed++
				break
			}
		}
	}
	if believed > collectors/100 {
		t.Errorf("%d of %d are believed to have a habit after 50 restarts", believed, collectors)
	}
}

// Nothing is dialled while there is nothing to send; one that is away is, so that it shows when it is back.
func TestWhoIsDialledWhileThereIsNothingToSend(t *testing.T) {
	t.Parallel()
	src := newSource(t)
	r := src.spool.Reader("tcp://192.0.2.1:1")
	for _, row := range []struct {
		why    string
		known  bool
		down   bool
		behind bool
		wanted bool
	}{{"no habit", false, false, false, true}, {"a habit", true, false, false, false}, {"away", true, true, false, true}, {"something to send", true, false, true, true}} {
		if row.behind {
			src.some(1)
		}
		tg := &target{cfg: &Config{Spool: src.spool}, reader: r, down: row.down}
		if row.known {
			tg.restless = restless{most: time.Second, learnt: time.Now()}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if got := tg.wanted(ctx); got != row.wanted {
			t.Errorf("%s: %v", row.why, got)
		}
		cancel()
	}
}

// socat ends a connection over which nothing came for a second. Once that is known nothing comes twice, it is not called trouble, and what comes later is sent at once.
func TestACollectorThatEndsQuietConnections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	addr := nobody(t)
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command("socat", "-d", "-d", "-u", "-T1", "TCP-LISTEN:"+port+",bind=127.0.0.1,reuseaddr,fork", "OPEN:"+log+",creat,append")
	said := filepath.Join(dir, "said")
	out, err := os.Create(said)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stderr, cmd.SysProcAttr = out, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			words, err := os.ReadFile(said)
			t.Logf("socat said: %s, %v", words, err)
		}
	})
	src := newSource(t)
	x, events, _ := src.start(t, Config{Targets: targets("tcp://" + addr)})
	times := func(seq uint64) int {
		data, _ := os.ReadFile(log)
		return bytes.Count(data, fmt.Appendf(nil, ` seq="%d" `, seq))
	}
	// A round is a record and a quiet time. It is known what socat does once nothing comes again; on a machine that is busy it may take some rounds until two ends are alike.
	const most, rounds = 60, 3
	var n uint64
	clean, tried, known := 0, false, 0
	for clean < rounds {
		if n++; n > most {
			t.Fatalf("after %d rounds records still come again: %+v", n, x.Status())
		}
		again := x.Status()[0].Again
		if clean == 0 {
			known = len(events())
		}
		src.some(1)
		src.spool.Sync()
		for deadline := time.Now().Add(20 * time.Second); times(n) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("record %d did not come: %+v", n, x.Status())
			}
		}
		time.Sleep(1500 * time.Millisecond) // longer than it lets a connection be
		if x.Status()[0].Again == again && times(n) == 1 {
			clean++
		} else {
			clean, tried = 0, true
		}
	}
	if !tried {
		t.Error("nothing came again before it was known: nothing was tried")
	}
	connections := func() int {
		words, err := os.ReadFile(said)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(words, []byte("accepting connection"))
	}
	made := connections()
	time.Sleep(2500 * time.Millisecond)
	if more := connections() - made; uint64(made) < n || more != 0 {
		t.Errorf("%d connections, and %d more while there was nothing to send", made, more)
	}
	if late := events()[known:]; len(late) > 0 || !x.Status()[0].Up {
		t.Errorf("said %+v; %+v", late, x.Status())
	}
}
