package e2e

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// flood sends n SYNs from inside ns, as fast as it can, each of another connection.
func flood(t *testing.T, ns *lab.Namespace, from netip.Addr, to netip.AddrPort, n int) {
	t.Helper()
	var fd int
	check(t, ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		return err
	}))
	defer unix.Close(fd)
	syn := nfqtest.TCP{Dst: to, Flags: packet.SYN}
	for i := range n {
		syn.Src, syn.Seq = netip.AddrPortFrom(from, uint16(20000+i%40000)), uint32(i)
		ip := syn.Packet()
		check(t, unix.Sendto(fd, ip, 0, &unix.SockaddrInet4{Addr: [4]byte(ip[16:20])}))
	}
}

// One subscriber sends more SYNs than any mail needs. What is beyond his meter is dropped,
// each of them is in a record with his name, his neighbour notices nothing, and when he
// stops his own mail goes out again.
func TestAFloodIsDroppedAndToldByName(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home, other := addHome(t, l, "home"), addHome(t, l, "other")
	b := newBox(t, ctx, l, config("enforce", `  - name: paced
    highest_stage: pace
    budgets:
      - {of: sessions, limit: 10, per: 1h}
    ladder: {pace_max: 0s}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,paced,%s %s\nother,free,%s %s\n", home.IPv4, home.Prefix6, other.IPv4, other.Prefix6))
	b.start()
	mail := func(h *lab.Home) {
		t.Helper()
		for _, s := range h.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 4, Concurrency: 2}) {
			if s.Result != lab.Sent {
				t.Errorf("%v: %v", s.Result, s.Err)
			}
		}
	}
	mail(other)
	const syns = 5000
	flood(t, home.Namespace, home.IPv4, mx.Address(false), syns)
	mail(other)

	// Each SYN that was dropped is in a record about him, and in the end it is over.
	var told, dropped int
	over := false
	await(t, 30*time.Second, "the flood to be over", func() bool {
		told, over = 0, false
		for _, r := range b.records("kind=HEALTH&limit=100") {
			if param(r.Line, "what") != "flood" {
				continue
			}
			if param(r.Line, "target") != home.IPv4.String() || param(r.Line, "subscriber") != "home" {
				t.Fatalf("a flood of somebody else: %s", r.Line)
			}
			n, _ := strconv.Atoi(param(r.Line, "count"))
			told, over = told+n, over || strings.HasPrefix(param(r.Line, "detail"), "the flood is over")
		}
		return over
	})
	s := b.status()
	dropped = int(s.Lanes.Fast.Dropped["flood"])
	if dropped < syns/2 || told != dropped {
		t.Errorf("of %d SYNs %d were dropped, and %d of them told", syns, dropped, told)
	}
	mail(home)
}
