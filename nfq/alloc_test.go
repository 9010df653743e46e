package nfq

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// steady is a long dialogue on many flows, in batches: nothing starts, nothing ends.
func steady(b *bench, batches, size int) [][]queued {
	const flows = 16
	var talks [flows]*talk
	for i := range talks {
		talks[i] = newTalk(uint16(4000 + i))
		b.take(talks[i].syn(), talks[i].synAck(), talks[i].reply("220 hi\r\n"), talks[i].say("EHLO c\r\n"), talks[i].reply("250 hi\r\n"))
	}
	all := make([][]queued, batches)
	n := uint32(0)
	for i := range all {
		for range size {
			c := talks[n/2%flows]
			ip := c.say("NOOP\r\n")
			if n%2 == 1 {
				c.up -= 6
				ip = c.reply("250 ok\r\n")
			}
			n++
			all[i] = append(all[i], queued{id: n, mark: 1, ip: ip, length: len(ip)})
		}
	}
	return all
}

func TestJudgingDoesNotAllocate(t *testing.T) {
	b := newBench(t, Config{Policy: quiet{}})
	const runs = 2000
	batches := steady(b, runs+1, 4)
	i := 0
	perBatch := testing.AllocsPerRun(runs, func() {
		b.out = b.w.batch(batches[i], b.now, b.out)
		i++
	})
	if perBatch != 0 {
		t.Errorf("%v allocations per batch of 4 packets", perBatch)
	}
	if s := b.stats(); s.Packets != 4*(runs+1)+16*5 || s.Verdicts["drop"] != 0 || s.MidAir != 0 {
		t.Errorf("not what was meant to be measured: %+v", s)
	}
}

// From the socket through the worker and back: what the fast reader does with
// every packet allocates nothing. A pair of datagram sockets plays the kernel.
func TestFastReaderDoesNotAllocate(t *testing.T) {
	b := newBench(t, Config{Policy: quiet{}})
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel := pair[1]
	defer unix.Close(kernel)
	ours := os.NewFile(uintptr(pair[0]), "pair")
	defer ours.Close()
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	r := newBuffers(0)
	r.raw = raw

	const runs, size = 1000, 4
	var messages [][]byte
	for _, batch := range steady(b, runs+1, size) {
		for _, p := range batch {
			messages = append(messages, packetMessage(p.id, p.mark, 3, 0, p.ip))
		}
	}
	verdicts := make([]byte, 1<<16)
	next, answered := 0, 0
	per := testing.AllocsPerRun(runs, func() {
		for range size {
			if _, err := unix.Write(kernel, messages[next]); err != nil {
				t.Fatal(err)
			}
			next++
		}
		packets, err := r.read()
		if err != nil || len(packets) != size {
			t.Fatalf("read %d packets: %v", len(packets), err)
		}
		b.out = b.w.batch(packets, time.Now(), b.out)
		if err := r.send(b.out); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Read(kernel, verdicts)
		if err != nil {
			t.Fatal(err)
		}
		answered += n / (verdictSize - 8)
	})
	if per != 0 {
		t.Errorf("%v allocations per batch of %d packets", per, size)
	}
	if answered != next {
		t.Errorf("%d packets, %d verdicts", next, answered)
	}
}
