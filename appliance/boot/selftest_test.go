package boot

import (
	"context"
	"testing"
	"time"

	"github.com/florianl/go-nfqueue/v2"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

func TestTheSelfTestArrivesOnlyWithAVerdict(t *testing.T) {
	const queue = 4711
	space := nfqtest.NewSpace(t)
	ask := func(most time.Duration) (err error) {
		space.Must(func() error { err = selfTest(most); return nil })
		return err
	}
	space.Must(func() error { return prepareSelfTest(queue) })
	if err := ask(300 * time.Millisecond); err == nil {
		t.Error("nobody reads the queue, and it is well")
	}
	var q *nfqueue.Nfqueue
	space.Must(func() (err error) {
		q, err = nfqueue.Open(&nfqueue.Config{NfQueue: queue, MaxPacketLen: 128, MaxQueueLen: 16, Copymode: nfqueue.NfQnlCopyPacket})
		return err
	})
	defer q.Close()
	err := q.RegisterWithErrorFunc(context.Background(), func(a nfqueue.Attribute) int {
		if err := q.SetVerdict(*a.PacketID, nfqueue.NfAccept); err != nil {
			t.Error(err)
		}
		return 0
	}, func(error) int { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(5 * time.Second); err != nil {
		t.Errorf("with a verdict: %v", err)
	}
	space.Must(func() error { return prepareSelfTest(queue) }) // once more is the same
	if err := ask(5 * time.Second); err != nil {
		t.Errorf("once more: %v", err)
	}
}
