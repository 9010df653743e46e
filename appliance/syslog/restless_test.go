package syslog

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Two ends after the same quiet time show a habit; others, such as a collector's restarts, do not.
func TestAHabitOfEndingQuietConnections(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, row := range []struct {
		why   string
		quiet []time.Duration
		idle  time.Duration
		habit bool // of the last end
	}{
		{"one end", []time.Duration{60 * s}, 0, false},
		{"restarts", []time.Duration{60 * s, 7 * s, 200 * s, 12 * s}, 0, false},
		{"twice", []time.Duration{60 * s, 61 * s}, 45 * s, true},
		{"a restart between", []time.Duration{60 * s, 5 * s, 60 * s, 60 * s}, 45 * s, true},
		{"a restart behind", []time.Duration{60 * s, 60 * s, 5 * s}, 45 * s, false},
		{"at once", []time.Duration{10 * time.Millisecond, 10 * time.Millisecond}, 0, false},
		{"shorter now", []time.Duration{60 * s, 60 * s, 30 * s, 30 * s}, 22500 * time.Millisecond, true},
	} {
		var r restless
		habit := false
		for _, q := range row.quiet {
			habit = r.ended(q)
		}
		if r.idle != row.idle || habit != row.habit {
			t.Errorf("%s: %v, %v", row.why, r.idle, habit)
		}
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
	const most, rounds = 20, 3
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
