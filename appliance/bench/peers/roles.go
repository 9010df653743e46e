package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/bench/helper"
)

// Roles are what helpers of this package may be.
func Roles() map[string]helper.Role {
	return map[string]helper.Role{
		"peers-naive":     helper.Of(naive),
		"peers-collector": helper.Of(collect),
		"peers-flood":     helper.Of(flood),
		"peers-server":    helper.Of(serve),
		"peers-greet":     helper.Of(greet),
		"peers-client":    helper.Of(load),
		"peers-message":   helper.Of(message),
	}
}

type naiveTask struct{}

type naiveResult struct{ Packets, Errors uint64 }

// naive accepts every packet of queue 0 as go-nfqueue's own example does.
func naive(_ naiveTask, stop <-chan struct{}) (naiveResult, error) {
	var packets, errs atomic.Uint64
	nf, err := nfqueue.Open(&nfqueue.Config{NfQueue: 0, MaxPacketLen: 0xffff, MaxQueueLen: 0xff, Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: 15 * time.Millisecond})
	if err != nil {
		return naiveResult{}, err
	}
	defer nf.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = nf.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		packets.Add(1)
		if err := nf.SetVerdict(*a.PacketID, nfqueue.NfAccept); err != nil {
			errs.Add(1)
		}
		return 0
	}, func(error) int {
		errs.Add(1)
		return 0
	})
	if err != nil {
		return naiveResult{}, err
	}
	<-stop
	return naiveResult{packets.Load(), errs.Load()}, nil
}

type collectorTask struct{ Port int }

type collectorResult struct{ Records uint64 }

// collect takes records over TCP, each with its length before it (RFC 6587 section 3.4.1), and counts them.
func collect(task collectorTask, stop <-chan struct{}) (collectorResult, error) {
	lis, err := net.Listen("tcp4", fmt.Sprintf(":%d", task.Port))
	if err != nil {
		return collectorResult{}, err
	}
	var records atomic.Uint64
	var broken error
	var once sync.Once
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				if err := countFrames(c, &records); err != nil {
					once.Do(func() { broken = err })
				}
			})
		}
	})
	<-stop
	err = lis.Close()
	// mailweir has ended before: what it sent is read to its end.
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		return collectorResult{}, errors.New("a connection does not end")
	}
	return collectorResult{records.Load()}, errors.Join(err, broken)
}

func countFrames(c io.Reader, records *atomic.Uint64) error {
	for r := bufio.NewReaderSize(c, 64<<10); ; {
		head, err := r.ReadString(' ')
		if errors.Is(err, io.EOF) && head == "" || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a record: %w", err)
		}
		n, err := strconv.Atoi(strings.TrimSuffix(head, " "))
		if err != nil {
			return fmt.Errorf("a record begins with %q", head)
		}
		if _, err := r.Discard(n); err != nil {
			return fmt.Errorf("read a record: %w", err)
		}
		records.Add(1)
	}
}
