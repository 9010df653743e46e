package nfq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// brokenLane is a fakeLane of which waiting fails while broken is set.
type brokenLane struct {
	*fakeLane
	mu     sync.Mutex
	broken error
	alive  time.Duration
	waits  []time.Duration // since begin, those that failed
	begin  time.Time
}

func (l *brokenLane) Wait(until time.Time) error {
	l.mu.Lock()
	err := l.broken
	if err != nil {
		l.waits = append(l.waits, time.Since(l.begin).Truncate(time.Second))
	}
	l.mu.Unlock()
	if err == nil {
		time.Sleep(time.Until(until))
	}
	return err
}

func (l *brokenLane) Alive(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive = d
}

func (l *brokenLane) set(broken error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = broken
}

// An error of the ring ends the lane and nothing else: its sessions go on in the queues,
// new ones wait for their verdicts, and it is tried again, ever more seldom, until it works.
func TestABrokenLaneIsGivenUpAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lane := &brokenLane{fakeLane: newFakeLane(), begin: time.Now()}
		lessor := &lessor{allowed: 9}
		var told []error
		b := &twoLanes{lane: lane.fakeLane, lessor: lessor}
		b.bench = newBench(t, Config{Policy: lessor, Lane: lane, LaneBroken: func(err error) { told = append(told, err) }})
		ctx, end := context.WithCancel(t.Context())
		defer end()
		c := newTalk(4001)
		b.send(newTalk(4000).syn())
		if way := b.send(c.syn()); way != "fast" {
			t.Fatalf("the second session goes by the way %s", way)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); b.q.follower.run(ctx) }()
		time.Sleep(10 * time.Second)
		if len(told) != 0 || lane.alive != laneAlive {
			t.Errorf("while all is well: told %v, alive for %v", told, lane.alive)
		}

		failed := errors.New("no epoll")
		lane.set(failed)
		lane.begin = time.Now()
		time.Sleep(20 * time.Second)
		if len(told) != 1 || told[0] != failed || lane.alive != 0 {
			t.Errorf("told %v, alive for %v", told, lane.alive)
		}
		if want := []time.Duration{0, 1e9, 3e9, 7e9, 15e9}; !slices.Equal(lane.waits, want) {
			t.Errorf("tried at %v, want %v", lane.waits, want)
		}
		if way := b.send(c.synAck(), c.reply("220 hi\r\n")); way != "handed" {
			t.Errorf("a session that began unasked goes by the way %s", way)
		}
		if way := b.send(newTalk(4002).syn()); way != "queue" {
			t.Errorf("a new session goes by the way %s", way)
		}
		if s := b.stats(); s.Adopted != 1 || s.MidAir != 0 {
			t.Errorf("%d adopted, %d in mid-air", s.Adopted, s.MidAir)
		}

		lane.set(nil)
		time.Sleep(lastRetry)
		if len(told) != 2 || told[1] != nil || lane.alive != laneAlive {
			t.Errorf("when it works again: told %v, alive for %v", told, lane.alive)
		}
		b.send(newTalk(4003).syn())
		if way := b.send(newTalk(4004).syn()); way != "fast" {
			t.Errorf("when it works again a session goes by the way %s", way)
		}
		end()
		<-ended
	})
}

// The program was away from an interface: what ended meanwhile ends a minute later, what
// goes on does so through the queues.
func TestAfterAGapNobodyRunsForEver(t *testing.T) {
	b := newTwoLanes(t, 5)
	b.send(newTalk(4000).syn())
	silent, goesOn := newTalk(4001), newTalk(4002)
	for _, c := range []*talk{silent, goesOn} {
		b.send(c.syn(), c.synAck(), c.reply("220 hi\r\n"))
	}
	b.q.Gap()
	if way := b.send(goesOn.say("NOOP\r\n")); way != "handed" {
		t.Errorf("who goes on does so by the way %s", way)
	}
	b.later(30 * time.Second)
	b.send(goesOn.reply("250 ok\r\n"))
	b.later(31 * time.Second)
	b.q.follower.tend(b.now, nil)
	var closed []uint16
	for _, c := range b.lessor.closed() {
		closed = append(closed, c.flow.Client.Port())
	}
	if !slices.Contains(closed, 4001) || slices.Contains(closed, 4002) {
		t.Errorf("ended: %v, want 4001 and not 4002", closed)
	}
	newBench(t, Config{}).q.Gap() // without a fast lane it does nothing
}
