package syslog

import (
	"testing"
	"time"
)

func TestUDPRefusedRecordsWait(t *testing.T) {
	got := newCollected()
	addr, stopFirst := listenUDP(t, "127.0.0.1:0", got)
	src := newSource(t)
	_, events, stop := src.start(t, Config{Targets: targets("udp://" + addr)})
	src.some(1)
	got.wait(t, "before", all(1, 1))
	stopFirst()
	src.some(20)
	for whats(events()) != "down" {
		time.Sleep(time.Millisecond)
	}
	listenUDP(t, addr, got)
	got.wait(t, "what was refused", all(1, 21))
	stop()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
}

// TestUDPSendsAtOnceAfterAStart: only who was refused waits with the next record whether it is refused, too. A slow machine may
// take its time once, so the fastest of some tries counts.
func TestUDPSendsAtOnceAfterAStart(t *testing.T) {
	best := time.Hour
	for range 5 {
		got := newCollected()
		addr, _ := listenUDP(t, "127.0.0.1:0", got)
		src := newSource(t)
		_, _, stop := src.start(t, Config{Targets: targets("udp://" + addr)})
		began := time.Now()
		src.some(3)
		got.wait(t, "three records", all(1, 3))
		best = min(best, time.Since(began))
		stop()
	}
	if best >= probation {
		t.Errorf("three records took %v", best)
	}
}

// TestUDPRefusedFromTheStart has a collector that begins to listen after us: what its host refused is sent again.
func TestUDPRefusedFromTheStart(t *testing.T) {
	got := newCollected()
	addr, stop := listenUDP(t, "127.0.0.1:0", got)
	stop() // the port is ours no more, and nobody else's
	src := newSource(t)
	x, events, end := src.start(t, Config{Targets: targets("udp://" + addr)})
	src.some(1)
	for whats(events()) != "down" {
		time.Sleep(time.Millisecond)
	}
	if s := x.Status()[0]; s.Up || s.LastError == "" || s.Behind != 1 {
		t.Errorf("%+v", s)
	}
	src.some(5)
	listenUDP(t, addr, got)
	got.wait(t, "all", all(1, 6))
	end()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
}
