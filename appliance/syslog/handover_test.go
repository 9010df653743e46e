package syslog

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// A reload while a collector hangs: all others get their records at once, and that one goes on where it was when it is free again.
func TestACollectorThatHangsHoldsUpNobodyAtAReload(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	took, other := newCollected(), newCollected()
	hung, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) {
		<-free
		frames(t, conn, took)
	})
	quick, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { frames(t, conn, other) })
	src := newSource(t)
	x, _, stop := src.start(t, Config{Targets: targets("tcp://" + hung), Drain: time.Hour})
	t.Cleanup(release) // before x has to end
	src.some(20)
	for deadline := time.Now().Add(20 * time.Second); x.Status()[0].Sent < 20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", x.Status())
		}
	}
	next, err := New(Config{Targets: targets("tcp://"+hung, "tcp://"+quick), Spool: src.spool, MinPause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	x.HandOver(next)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- next.Run(ctx) }()
	src.some(10)
	other.wait(t, "the other one's", all(21, 30))
	select {
	case <-stopped:
		t.Error("the one that hangs has ended: it held up nobody")
	default:
	}
	release()
	took.wait(t, "what the one that hung gets in the end", all(1, 30))
	<-stopped
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
