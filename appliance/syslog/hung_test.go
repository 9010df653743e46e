package syslog

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/spool"
	"github.com/mailweir/mailweir/appliance/syslog/rsyslogtest"
)

// receiveBuffer gives a connection a receive buffer of its own, beyond the bound that the system sets for others.
func receiveBuffer(t *testing.T, conn net.Conn, bytes int) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) }); err != nil || inner != nil {
		t.Fatalf("SO_RCVBUFFORCE (it needs root): %v, %v", err, inner)
	}
}

// ended reports whether the other side of a connection has said that it sends no more.
func ended(t *testing.T, conn net.Conn) (yes bool) {
	t.Helper()
	const closeWait = 8 // TCP_CLOSE_WAIT, net/tcp_states.h
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Error(err)
		return true
	}
	var info *unix.TCPInfo
	var inner error
	if err := raw.Control(func(fd uintptr) { info, inner = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || inner != nil {
		t.Errorf("TCP_INFO: %v, %v", err, inner)
		return true
	}
	return info.State == closeWait
}

// A collector whose program hangs, while its kernel goes on taking records, and is then killed: whatever its receive buffer takes is sent again, and nothing is missing.
func TestWhatAHungCollectorsKernelHadIsSentAgain(t *testing.T) {
	for _, row := range []struct {
		why    string
		limit  int64 // of the spool
		buffer int   // of the collector; 0: the kernel's choice
	}{{"the kernel's buffer", 64 << 20, 0}, {"a buffer of 8 MB", 64 << 20, 8 << 20}, {"a small spool", 4 << 20, 8 << 20}} {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			got := newCollected()
			killed := make(chan struct{})
			addr, _ := listenTCP(t, "127.0.0.1:0", func(i int, conn net.Conn) {
				if i != 1 { // the second hangs: the first was ended, as every one is
					frames(t, conn, got)
					return
				}
				if row.buffer > 0 {
					receiveBuffer(t, conn, row.buffer)
				}
				r, w := io.Pipe()
				go func() {
					io.CopyN(w, conn, 100<<10)
					w.Close()
				}()
				frames(t, r, got)
				<-killed
				if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Error(err)
				}
			})
			src := newSourceIn(t, spool.Options{Limit: row.limit})
			x, events, stop := src.start(t, Config{Targets: targets("tcp://" + addr)})
			last := uint64(0)
			for moved := time.Now(); time.Since(moved) < time.Second; time.Sleep(10 * time.Millisecond) { // until nothing more is sent
				if s := x.Status()[0].Sent; s > last || s == 0 {
					moved, last = time.Now(), s
				}
				if row.limit > 4<<20 || src.spool.Stat().Bytes < row.limit/2 {
					src.some(50)
				}
			}
			to, _ := src.chain.Head()
			close(killed)
			got.wait(t, "all", all(1, to))
			for deadline := time.Now().Add(60 * time.Second); x.Status()[0].Behind > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%+v", x.Status())
				}
			}
			stop()
			again := uint64(0)
			for _, e := range events() {
				if e.What == Again {
					again += e.Count
				}
				if len(e.Doubt) > 0 || e.What == Loss {
					t.Errorf("%+v", e)
				}
			}
			bound := min(maxUnproven, uint64(row.limit)/spoolShares)
			if again == 0 || again > bound/200 {
				t.Errorf("%d came again, of at most %d bytes", again, bound)
			}
			t.Logf("%d of %d records came again", again, to)
		})
	}
}

// A collector that does not end connections that were ended here gets everything all the same, and when the one breaks on which it was not asked to any more it is stated what may be
// missing there: all that it never proved to have read. Then it is asked again.
func TestACollectorThatNeverEndsConnections(t *testing.T) {
	t.Parallel()
	got := newCollected()
	reset := make(chan struct{})
	addr, _ := listenTCP(t, "127.0.0.1:0", func(i int, conn net.Conn) {
		if i > maxUnended {
			frames(t, conn, got)
			return
		}
		go frames(t, conn, got) // ends with conn
		<-reset
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
	})
	src := newSourceIn(t, spool.Options{Limit: 2 << 20}) // so that a connection is ended after 256 KiB
	x, events, stop := src.start(t, Config{Targets: targets("tcp://" + addr), MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond, Prove: 50 * time.Millisecond})
	const n = 1500
	src.some(n)
	await := func(what string, ok func(Status) bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); !ok(x.Status()[0]); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, x.Status())
			}
		}
	}
	got.wait(t, "all", all(1, n))
	await("all acknowledged", func(s Status) bool { return s.Behind == 0 && s.Up })
	for _, e := range events() {
		if len(e.Doubt) > 0 {
			t.Errorf("in doubt before anything was left out: %+v", e)
		}
	}
	known := len(events())
	close(reset)
	await("down", func(s Status) bool { return s.Again > 0 && len(events()) > known })
	got.wait(t, "the last once more", func(seqs map[uint64]int) bool { return seqs[n] >= 2 })
	stop()
	var again []Event
	for _, e := range events()[known:] {
		if e.What == Again {
			again = append(again, e)
		}
	}
	if len(again) == 0 || len(again[0].Doubt) != 2 || again[0].Doubt.First() != 1 || again[0].Doubt.Last()+1 != again[0].FirstSeq || again[0].LastSeq != n {
		t.Fatalf("said %+v", again)
	}
	if e := again[len(again)-1]; e.Count > 256<<10/200 {
		t.Errorf("more than may be came again: %+v", e)
	}
}

// A collector that resets each connection that was ended here, as one with SO_LINGER 0 does, proves nothing, and is not asked for ever: it gets everything.
func TestACollectorThatResetsWhatIsEndedGetsEverything(t *testing.T) {
	t.Parallel()
	got := newCollected()
	addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) {
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
		frames(t, conn, got)
	})
	src := newSourceIn(t, spool.Options{Limit: 2 << 20}) // so that a connection is ended after 256 KiB
	_, _, stop := src.start(t, Config{Targets: targets("tcp://" + addr), MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond})
	const n = 2000
	src.some(n)
	got.wait(t, "all", all(1, n))
	stop()
}

// A collector that ends TLS in order and the connection with it, before it has read what its kernel has: the reset behind its close_notify says so, and nothing is missing.
func TestCloseNotifyProvesNothing(t *testing.T) {
	t.Parallel()
	certs, err := rsyslogtest.MakeCerts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certs.Server, certs.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	got := newCollected()
	addr, _ := listenTCP(t, "127.0.0.1:0", func(i int, conn net.Conn) {
		c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}})
		if i == 0 {
			receiveBuffer(t, conn, 1<<20)
			frames(t, io.LimitReader(c, 20<<10), got)
			for deadline := time.Now().Add(10 * time.Second); !ended(t, conn); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Error("the connection is not ended")
					break
				}
			}
		} else {
			frames(t, c, got)
		}
		c.Close()
	})
	src := newSourceIn(t, spool.Options{Limit: 2 << 20}) // so that a connection is ended after 256 KiB
	_, _, stop := src.start(t, Config{Targets: []Target{{URL: "tls://" + addr, CAFile: certs.CA}}, MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond})
	const n = 2000
	src.some(n)
	got.wait(t, "all", all(1, n))
	stop()
}
