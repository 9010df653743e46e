package ntp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// wrong is a clock that is behind the machine's, which nobody touches here.
type wrong struct {
	mu     sync.Mutex
	behind time.Duration
	steps  []time.Duration
	slews  int
	lost   int
}

func (w *wrong) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(-w.behind)
}

func (w *wrong) Step(by time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.behind -= by
	w.steps = append(w.steps, by)
	return nil
}

func (w *wrong) Slew(by, _ time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if by.Abs() > 500*time.Millisecond {
		return fmt.Errorf("the kernel slews no %v", by)
	}
	w.behind -= by
	w.slews++
	return nil
}

func (w *wrong) Lose() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost++
	return nil
}

// done is what was done to the clock so far.
func (w *wrong) done() (steps []time.Duration, slews, lost int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.steps), w.slews, w.lost
}

// rig is a keeper in a namespace of its own.
type rig struct {
	t      *testing.T
	space  nfqtest.Space
	clock  *wrong
	asks   atomic.Pointer[[]string]
	said   atomic.Pointer[State]
	rounds atomic.Int64
}

func newRig(t *testing.T, behind time.Duration) *rig {
	r := &rig{t: t, space: nfqtest.NewSpace(t), clock: &wrong{behind: behind}}
	r.ask()
	r.said.Store(&State{})
	return r
}

func (r *rig) ask(servers ...string) { r.asks.Store(&servers) }

// run keeps the clock until the test ends.
func (r *rig) run(floor time.Time) {
	k := &Keeper{
		Clock: r.clock, Now: r.clock.now, Floor: floor, Servers: func() []string { return *r.asks.Load() },
		Tell:     func(s State) { r.said.Store(&s); r.rounds.Add(1) },
		shortest: 160 * time.Millisecond, longest: 320 * time.Millisecond, look: 5 * time.Millisecond,
		dial: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			r.space.Do(func() { c, err = (&net.Dialer{}).DialContext(ctx, network, address) })
			return c, err
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- k.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) eventually(what string, holds func(State) bool) {
	r.t.Helper()
	nfqtest.Eventually(r.t, what, func() bool { return holds(*r.said.Load()) })
}

// more waits for so many rounds from now on.
func (r *rig) more(n int64) {
	r.t.Helper()
	until := r.rounds.Load() + n
	nfqtest.Eventually(r.t, "rounds", func() bool { return r.rounds.Load() >= until })
}

// chrony starts Debian's chronyd in the namespace as a server that leaves this machine's clock alone.
func (r *rig) chrony() (stop func()) {
	r.t.Helper()
	const path = "/usr/sbin/chronyd"
	if _, err := os.Stat(path); err != nil {
		r.t.Fatalf("%v: the Debian package chrony is missing; run: make setup", err)
	}
	dir := r.t.TempDir()
	conf := filepath.Join(dir, "chrony.conf")
	text := fmt.Sprintf("local stratum 8\nallow all\ncmdport 0\nbindcmdaddress /\npidfile %s/pid\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, "-d", "-x", "-u", "root", "-f", conf)
	cmd.Stdout, cmd.Stderr = &out, &out
	r.space.Must(cmd.Start)
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cmd.Process.Kill()
			cmd.Wait()
			if r.t.Failed() {
				r.t.Logf("chronyd: %s", out.String())
			}
		})
	}
	r.t.Cleanup(stop)
	return stop
}

func TestAClockIsSetByARealServerAndLostAndFound(t *testing.T) {
	r := newRig(t, 3*time.Hour)
	stop := r.chrony()
	r.run(time.Time{})
	r.eventually("it is said that no server is known", func(s State) bool { return s.Why == "no server is known" })
	r.ask("127.0.0.1")
	r.eventually("the clock is set", func(s State) bool { return s.Synced })
	steps, _, _ := r.clock.done()
	if len(steps) != 1 || (steps[0]-3*time.Hour).Abs() > time.Second {
		t.Errorf("steps: %v", steps)
	}
	r.eventually("then it is slewed", func(s State) bool { _, slews, _ := r.clock.done(); return slews > 2 })
	s := *r.said.Load()
	if s.Server != "127.0.0.1" || s.Stratum != 8 || s.Offset.Abs() > 100*time.Millisecond || s.Heard.IsZero() || s.Why != "" {
		t.Errorf("%+v", s)
	}
	stop()
	r.eventually("it is lost", func(s State) bool { return !s.Synced })
	if s := *r.said.Load(); !strings.Contains(s.Why, "127.0.0.1: ") || !strings.Contains(s.Why, "no server answered") || s.Server != "127.0.0.1" {
		t.Errorf("%+v", s)
	}
	r.chrony()
	r.eventually("it is found", func(s State) bool { return s.Synced && s.Why == "" })
	if steps, _, lost := r.clock.done(); len(steps) != 1 || lost != 1 {
		t.Errorf("steps %v, lost %d times", steps, lost)
	}
}

// teller answers as an NTP server whose clock is ahead of the machine's, since no real one can be made to be wrong.
type teller struct {
	address string
	ahead   atomic.Int64 // nanoseconds
	kiss    atomic.Bool  // it asks to be left alone
	asked   atomic.Int64
	odd     atomic.Int64 // so many answers are an hour beyond that
}

func (r *rig) teller(ahead time.Duration) *teller {
	r.t.Helper()
	s := &teller{}
	s.ahead.Store(int64(ahead))
	var c net.PacketConn
	r.space.Must(func() (err error) { c, err = net.ListenPacket("udp", "127.0.0.1:0"); return err })
	s.address = c.LocalAddr().String()
	r.t.Cleanup(func() { c.Close() })
	go func() {
		q := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(q)
			if err != nil {
				return
			}
			if n >= 48 {
				s.asked.Add(1)
				c.WriteTo(s.answer(q), from)
			}
		}
	}()
	return s
}

// answer is a packet as RFC 5905 section 7.3 has it.
func (s *teller) answer(q []byte) []byte {
	a := make([]byte, 48)
	a[0], a[1], a[2], a[3] = 4<<3|4, 2, 6, 0xec
	binary.BigEndian.PutUint32(a[8:], 1<<16/1000) // a root dispersion of 1 ms
	copy(a[12:], "TEST")
	if s.kiss.Load() {
		a[1] = 0
		copy(a[12:], "RATE")
	}
	now := time.Now().Add(time.Duration(s.ahead.Load()))
	if s.odd.Load() > 0 {
		s.odd.Add(-1)
		now = now.Add(time.Hour)
	}
	copy(a[24:32], q[40:48])
	for _, at := range []int{16, 32, 40} {
		binary.BigEndian.PutUint32(a[at:], uint32(now.Unix()+2208988800)) // since 1900
		binary.BigEndian.PutUint32(a[at+4:], uint32(uint64(now.Nanosecond())<<32/1e9))
	}
	return a
}

func TestOneWrongServerIsOutvoted(t *testing.T) {
	r := newRig(t, 0)
	r.ask(r.teller(time.Hour).address, r.teller(0).address, r.teller(0).address)
	r.run(time.Time{})
	r.eventually("it is set", func(s State) bool { return s.Synced && s.Server != (*r.asks.Load())[0] })
	r.more(4)
	if steps, slews, _ := r.clock.done(); len(steps) != 0 || slews < 4 {
		t.Errorf("steps %v, %d slews", steps, slews)
	}
}

func TestWhoDisagreesSetsNothing(t *testing.T) {
	r := newRig(t, 0)
	r.ask(r.teller(time.Hour).address, r.teller(0).address)
	r.run(time.Time{})
	r.eventually("it is said", func(s State) bool { return strings.Contains(s.Why, "do not agree") })
	r.more(4)
	if steps, slews, _ := r.clock.done(); len(steps)+slews != 0 || r.said.Load().Synced {
		t.Errorf("steps %v, %d slews, %+v", steps, slews, *r.said.Load())
	}
}

func TestAServerFromBeforeThisVersionIsNotBelieved(t *testing.T) {
	r := newRig(t, 0)
	r.ask(r.teller(-20 * 365 * 24 * time.Hour).address)
	r.run(time.Now().Add(-time.Hour))
	r.eventually("it is said", func(s State) bool { return strings.Contains(s.Why, "before this version was made") })
	if steps, slews, _ := r.clock.done(); len(steps)+slews != 0 {
		t.Errorf("steps %v, %d slews", steps, slews)
	}
}

// A clock that is ahead when the box starts is put back once, and the next start knows.
func TestAClockThatIsAheadIsSetBackAtTheStart(t *testing.T) {
	r := newRig(t, -10*365*24*time.Hour)
	r.ask(r.teller(0).address)
	r.run(time.Now().Add(-time.Hour))
	r.eventually("it is set", func(s State) bool { return s.Synced })
	r.more(3)
	if steps, _, _ := r.clock.done(); len(steps) != 1 || (steps[0]+10*365*24*time.Hour).Abs() > time.Second {
		t.Errorf("steps %v", steps)
	}
	// Who comes later learns of it, also after the next rounds.
	s := r.said.Load().Stepped
	if s == nil || s.To.Sub(s.From) > -10*365*24*time.Hour+time.Second || time.Since(s.To).Abs() > time.Minute {
		t.Errorf("%+v", s)
	}
}

func TestAClockThatWasRightIsSteppedOnlyWhenThatIsSaidAgainAndAgain(t *testing.T) {
	r := newRig(t, 0)
	s := r.teller(0)
	r.ask(s.address)
	r.run(time.Time{})
	r.eventually("it is right", func(s State) bool { return s.Synced })
	s.odd.Store(jumps - 1)
	r.eventually("a doubt", func(s State) bool { return strings.Contains(s.Why, "asked again") })
	r.eventually("no doubt", func(s State) bool { return s.Synced && s.Why == "" })
	if steps, _, _ := r.clock.done(); len(steps) != 0 {
		t.Fatalf("stepped for one odd server: %v", steps)
	}
	s.ahead.Store(int64(10 * time.Second))
	nfqtest.Eventually(t, "a step", func() bool { steps, _, _ := r.clock.done(); return len(steps) > 0 })
	if steps, _, _ := r.clock.done(); len(steps) != 1 || (steps[0]-10*time.Second).Abs() > 100*time.Millisecond {
		t.Errorf("steps %v", steps)
	}
}

func TestWhoAsksForItIsLeftAlone(t *testing.T) {
	r := newRig(t, 0)
	s, other := r.teller(0), r.teller(0)
	s.kiss.Store(true)
	r.ask(s.address, other.address)
	r.run(time.Time{})
	r.more(5)
	if n := s.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	if got := r.said.Load(); !got.Synced || got.Server != other.address {
		t.Errorf("%+v", got)
	}
}
