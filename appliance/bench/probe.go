package bench

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// probeTask is connections to be opened, at random moments so that no timer of anybody's keeps step with them, from
// random ones of many addresses.
type probeTask struct {
	From    netip.Addr // the first address
	Sources int        // how many there are from it on
	To      netip.AddrPort
	Rate    float64 // a second
	Samples int
	Seed    uint64
}

type probeResult struct {
	Took     []time.Duration // SYN to SYN-ACK, of those that were answered
	Failed   int             // not answered, or refused
	Realtime bool            // false: the kernel did not allow it, and its own waiting for a processor is in the figures
}

// probePatience is how long the last connections may take. A SYN that was lost is sent again after a second and then
// after two more: such a connection counts with what it took.
const probePatience = 5 * time.Second

// probe measures. It runs before all other processes, as a machine of its own would, and never waits for an answer before
// the next connection is due, since else it would measure least often when it takes longest.
func probe(task probeTask, stop <-chan struct{}) (probeResult, error) {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	p := prober{probeTask: task, rnd: rand.New(rand.NewPCG(task.Seed, 1)), began: map[int]time.Time{}}
	p.result.Took = make([]time.Duration, 0, task.Samples)
	p.result.Realtime = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0) == nil
	err := p.run(stop)
	return p.result, err
}

type prober struct {
	probeTask
	rnd    *rand.Rand
	poll   int
	timer  int
	began  map[int]time.Time // by socket
	due    time.Time
	left   int
	result probeResult
}

func (p *prober) run(stop <-chan struct{}) (err error) {
	if p.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	if err := p.watch(p.timer, unix.EPOLLIN); err != nil {
		return err
	}
	p.left = p.Samples
	p.due = time.Now()
	if err := p.next(p.due); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 64)
	deadline := time.Time{}
	for p.left > 0 || len(p.began) > 0 {
		n, err := unix.EpollWait(p.poll, events, 100)
		now := time.Now()
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if int(e.Fd) != p.timer {
				p.answered(int(e.Fd), now)
				continue
			}
			var ticks [8]byte
			_, _ = unix.Read(p.timer, ticks[:]) // the time says what is due
			if err := p.next(now); err != nil {
				return err
			}
		}
		select {
		case <-stop:
			return errors.New("stopped before the end")
		default:
		}
		if p.left == 0 && deadline.IsZero() {
			deadline = now.Add(probePatience)
		}
		if !deadline.IsZero() && now.After(deadline) {
			p.result.Failed += len(p.began)
			return nil
		}
	}
	return nil
}

func (p *prober) watch(fd int, events uint32) error {
	return unix.EpollCtl(p.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// next opens what is due and sets the timer for the one after it.
func (p *prober) next(now time.Time) error {
	for p.left > 0 && !p.due.After(now) {
		p.left--
		if err := p.open(); err != nil {
			return err
		}
		gap := min(-math.Log(1-p.rnd.Float64()), 10) / p.Rate
		p.due = p.due.Add(time.Duration(gap * float64(time.Second)))
	}
	if p.left == 0 {
		return nil
	}
	wait := max(time.Until(p.due), time.Microsecond)
	return unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(wait.Nanoseconds())}, nil)
}

func (p *prober) open() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	from := nth(p.From, p.rnd.IntN(p.Sources))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		// Closed with a reset: nothing of it is left here or there, and as nobody spoke the governor gives the session back.
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}))
	if err != nil {
		return errors.Join(fmt.Errorf("open from %s: %w", from, err), unix.Close(fd))
	}
	began := time.Now()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: p.To.Addr().As4(), Port: int(p.To.Port())}); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return errors.Join(fmt.Errorf("connect from %s: %w", from, err), unix.Close(fd))
	}
	p.began[fd] = began
	return p.watch(fd, unix.EPOLLOUT)
}

func (p *prober) answered(fd int, now time.Time) {
	began, mine := p.began[fd]
	if !mine {
		return
	}
	delete(p.began, fd)
	if why, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || why != 0 {
		p.result.Failed++
	} else {
		p.result.Took = append(p.result.Took, now.Sub(began))
	}
	_ = unix.Close(fd)
}

// nth is the address n after a.
func nth(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	v := (uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])) + uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
