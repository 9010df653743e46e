package syslog

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// refusing serves a RELP connection: it takes every record but one, and refuses that each time.
func refusing(t testing.TB, conn net.Conn, got *collected, seq uint64) {
	in := bufio.NewReader(conn)
	word := func(end byte) string {
		w, err := in.ReadString(end)
		if err != nil {
			return ""
		}
		return w[:len(w)-1]
	}
	for {
		txn, command := word(' '), word(' ')
		var length int
		if _, err := fmt.Fscanf(in, "%d", &length); err != nil {
			return // it has ended
		}
		data := make([]byte, length+1) // and what is before them, or the end of a frame without any
		if _, err := io.ReadFull(in, data); err != nil {
			return
		}
		answer := "200 OK"
		switch command {
		case "open":
			answer = "200 OK\nrelp_version=0\ncommands=syslog"
		case "syslog":
			if l, err := records.ParseLine(data[1:]); err != nil {
				t.Error(err)
			} else if l.Seq == seq {
				answer = "500 not this one"
			} else {
				parseInto(t, got, data[1:])
			}
		}
		if length > 0 {
			word('\n')
		}
		if _, err := fmt.Fprintf(conn, "%s rsp %d %s\n", txn, len(answer), answer); err != nil || command == "close" {
			return
		}
	}
}

// A record that a RELP collector never takes stands right behind numbers that the spool had no room for: it is left out after some attempts as any
// other is, and what comes after it arrives.
func TestARefusedRecordBehindAGap(t *testing.T) {
	got := newCollected()
	addr := nobody(t)
	src, lost := newSmallSource(t)
	x, events, stop := src.start(t, Config{Targets: targets("relp://" + addr)})
	n := uint64(0)
	for ; lost.Count() == 0 || n < 4000; n++ {
		src.next()
	}
	src.spool.Sync()
	gap := lost.Pieces()[0]
	if gap.First() != 1 {
		t.Fatalf("what is lost begins with %d", gap.First())
	}
	refused := gap.Last() + 1
	listenTCP(t, addr, func(_ int, conn net.Conn) { refusing(t, conn, got, refused) })
	for deadline := time.Now().Add(30 * time.Second); x.Status()[0].Behind > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is stuck before %d: %+v, %s", refused, x.Status()[0], whats(events()))
		}
	}
	stop()
	got.wait(t, "what comes after it", all(refused+1, n))
	var told []string
	for _, e := range events() {
		if e.What == Refused {
			told = append(told, fmt.Sprintf("%d %d-%d", e.Count, e.FirstSeq, e.LastSeq))
		}
	}
	if want := fmt.Sprintf("1 %d-%d", refused, refused); strings.Join(told, ", ") != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if s := x.Status()[0]; s.Dropped != lost.Count()+1 {
		t.Errorf("%+v, of which the spool lost %d", s, lost.Count())
	}
}

// A collector, or what stands before it, that takes connections and ends them at once is one trouble, told once; nobody who asks meanwhile hears that all is well.
func TestACollectorThatDropsEachConnection(t *testing.T) {
	for _, row := range []struct {
		scheme string
		serve  func(net.Conn)
	}{
		{"tcp", func(net.Conn) {}},
		{"relp", func(conn net.Conn) { // it opens the session, and that is all
			in := bufio.NewReader(conn)
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
			fmt.Fprintf(conn, "1 rsp %d 200 OK\nrelp_version=0\ncommands=syslog\n", len("200 OK\nrelp_version=0\ncommands=syslog"))
		}},
	} {
		t.Run(row.scheme, func(t *testing.T) {
			var came atomic.Int32
			addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) {
				row.serve(conn)
				conn.Close()
				came.Add(1)
			})
			src := newSource(t)
			x, events, stop := src.start(t, Config{Targets: targets(row.scheme + "://" + addr)})
			src.some(3)
			for deadline := time.Now().Add(30 * time.Second); came.Load() < 25; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is not tried again")
				}
				if s := x.Status()[0]; came.Load() > 2 && (s.Up || s.LastError == "") {
					t.Fatalf("after %d attempts: up %v, %q", came.Load(), s.Up, s.LastError)
				}
			}
			stop()
			if w := whats(events()); strings.Count(w, "down") != 1 || strings.Contains(w, "up") {
				t.Errorf("told %q", w)
			}
			if s := x.Status()[0]; row.scheme == "relp" && s.Behind != 3 {
				t.Errorf("nothing was read, and yet %+v", s)
			}
		})
	}
}
