package syslog

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/mailweir/mailweir/appliance/spool"
)

// An answer over RELP is for its own record: where a collector answers out of order, only what all before have been taken, too, counts as acknowledged.
func TestAnswersOutOfOrderAcknowledgeOnlyTheirOwn(t *testing.T) {
	t.Parallel()
	answers := make(chan int)
	defer close(answers)
	addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) {
		in := bufio.NewReader(conn)
		if _, err := in.ReadString('\n'); err != nil {
			t.Error(err)
			return
		}
		const offers = "200 OK\nrelp_version=0\ncommands=syslog"
		fmt.Fprintf(conn, "1 rsp %d %s\n", len(offers), offers)
		go io.Copy(io.Discard, in) // until the connection ends
		for txn := range answers {
			fmt.Fprintf(conn, "%d rsp 6 200 OK\n", txn)
		}
	})
	w, err := dialWire(t.Context(), addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRELP(w)
	if err != nil {
		t.Fatal(err)
	}
	var items []spool.Item
	for seq := uint64(11); seq <= 15; seq++ {
		items = append(items, spool.Item{Seq: seq, Line: []byte("x")})
	}
	if n, err := r.send(items); n != 5 || err != nil { // as the transactions 2 to 6
		t.Fatal(n, err)
	}
	for _, row := range []struct {
		txn   int
		acked uint64
	}{{4, 0}, {2, 11}, {6, 11}, {3, 13}, {5, 15}} {
		answers <- row.txn
		select {
		case <-r.news():
		case <-r.broken():
			t.Fatalf("behind the answer to %d: %v", row.txn, r.why())
		}
		if got := r.acked(); got != row.acked {
			t.Errorf("behind the answer to %d all up to %d is acknowledged, want %d", row.txn, got, row.acked)
		}
	}
	r.close()
}
