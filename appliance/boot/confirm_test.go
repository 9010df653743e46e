package boot

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// TestProcess1TakesThePortsBack has who governs try to be a router, and end: the bridge is there again before he begins anew.
func TestProcess1TakesThePortsBack(t *testing.T) {
	r := newRouterRig(t)
	dir := t.TempDir()
	wasShape, wasPorts := shapeFile, cabled
	shapeFile, cabled = dir+"/network.json", cabling.Dir(dir)
	defer func() { shapeFile, cabled = wasShape, wasPorts }()
	if err := cabled.SaveCards(r.ports.cards); err != nil {
		t.Fatal(err)
	}
	r.inside.Must(func() error { return nfqtest.Address("lan0", "10.1.0.2/16") })
	r.world.Must(func() error { return nfqtest.Address("wan0", "10.1.0.3/16") })
	r.box.Must(func() error { return r.ports.take(r.ports.bridge(), false) })
	b := &box{ports: r.ports, log: slog.New(slog.DiscardHandler), console: &console{}}
	router := config.Network{Topology: config.Routed, SubscriberInterfaces: []string{"port2"}, UpstreamInterfaces: []string{"port3"},
		Addresses: []config.Address{{Interface: "port2", Address: "10.1.0.1/16"}, {Interface: "port3", Address: "192.0.2.2/29"}}}
	r.box.Must(b.portsBack) // nothing is tried
	for _, why := range []string{"the program that governs ended while they were tried", "nobody kept them in time"} {
		if err := cabled.Try("one", time.Hour); err != nil {
			t.Fatal(err)
		}
		if got := cabled.Why(); got != "" {
			t.Errorf("the one before is remembered: %q", got)
		}
		r.box.Must(func() error { return Shape(router) })
		nfqtest.Eventually(t, "the router is there", func() bool { return answersPing(r.inside, "10.1.0.1") })
		if strings.HasPrefix(why, "nobody") {
			if err := cabled.SayWhy(why); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		r.box.Do(func() { err = b.portsBack() })
		if err == nil || !strings.Contains(err.Error(), "which disk") { // what it keeps is not known here, so what it was at the start counts
			t.Errorf("%v", err)
		}
		nfqtest.Eventually(t, "the bridge passes again", func() bool { return answersPing(r.inside, "10.1.0.3") })
		if trial, err := cabled.Trial(); trial != nil || err != nil || cabled.Why() != why {
			t.Errorf("%+v, %v, %q", trial, err, cabled.Why())
		}
	}
	// What was confirmed in its last moment stays.
	if err := cabled.Try("two", time.Hour); err != nil {
		t.Fatal(err)
	}
	r.box.Must(func() error { return Shape(router) })
	confirmed := shapeOf(router)
	b.last = &confirmed
	r.box.Do(func() { b.portsBack() })
	if now := shapeNow(); now == nil || !now.routed() {
		t.Errorf("%+v", now)
	}
}

// Process 1 ends who governs when the time is over, and neither before nor twice.
func TestTheClockOfATrialOfPortsIsProcess1s(t *testing.T) {
	was := cabled
	cabled = cabling.Dir(t.TempDir())
	defer func() { cabled = was }()
	killed := make(chan unix.Signal, 10)
	s := newSupervisor(func([]string) (int, error) { return 101, nil }, slog.New(slog.DiscardHandler))
	s.kill = func(_ int, sig unix.Signal) error { killed <- sig; return nil }
	s.add(&child{name: governChild})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		(&box{log: slog.New(slog.DiscardHandler), console: &console{}}).watchPorts(ctx, s)
	}()
	if err := cabled.Try("one", time.Hour); err != nil {
		t.Fatal(err)
	}
	nothing := func(what string) {
		t.Helper()
		select {
		case sig := <-killed:
			t.Errorf("%s: %v", what, sig)
		case <-time.After(4 * portsLook):
		}
	}
	nothing("before its time is over")
	if err := cabled.Try("one", 0); err != nil {
		t.Fatal(err)
	}
	select {
	case sig := <-killed:
		if sig != unix.SIGTERM || cabled.Why() != "nobody kept them in time" {
			t.Errorf("%v, %q", sig, cabled.Why())
		}
	case <-time.After(10 * time.Second):
		t.Error("its time is over, and it goes on")
	}
	nothing("once more")
	stop()
	<-ended
}

// A bridge takes the spare ports down: that says nothing against an update.
func TestASparePortWithoutALinkIsNoFaultOfABridge(t *testing.T) {
	dir := t.TempDir()
	wasShape, wasPorts := shapeFile, cabled
	shapeFile, cabled = dir+"/network.json", cabling.Dir(dir)
	defer func() { shapeFile, cabled = wasShape, wasPorts }()
	p := portsNamed("port1", "port2", "port3", "port4", "port5")
	if err := cabled.SaveCards(p.cards); err != nil {
		t.Fatal(err)
	}
	router := aRouter()
	router.Subscribers = append(router.Subscribers, "port4")
	before := []string{"port2", "port4", "port5"}
	for _, row := range []struct {
		s    shape
		want string
	}{{p.bridge(), "port2"}, {router, "port2 port4"}} {
		if err := row.s.save(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(linked(before), " "); got != row.want {
			t.Errorf("%v: %s, want %s", row.s, got, row.want)
		}
	}
}
