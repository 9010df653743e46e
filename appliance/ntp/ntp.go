// Package ntp keeps the clock of a box right by NTP (RFC 5905). Each round asks all servers, believes what more than half of those that
// answer agree about, and has the clock stepped or slewed. A clock that is far off is stepped once, at the start; later only
// when several rounds in a row say so, since one round may be wrong.
package ntp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	protocol "github.com/beevik/ntp"
)

const (
	// slewMost is the largest offset that is slewed: the kernel takes no more than half a second.
	slewMost = 400 * time.Millisecond

	// reach is after how many rounds without an answer the time is lost (RFC 5905 section 9.2: the register of 8).
	reach = 8

	// jumps is how many rounds in a row have to say that a clock that was right is far off.
	jumps = 3

	// quiet is how long a server is left alone that asked for it (kiss-o'-death, RFC 5905 section 7.4).
	quiet = time.Hour

	queryTime = 3 * time.Second

	maxServers = 8 // that are asked, however many DHCP names
)

// Clock is what is kept right.
type Clock interface {
	// Step sets it at once.
	Step(by time.Duration) error
	// Slew has it run faster or slower until it is right, so that it never goes back; the next look at it is after about so long.
	Slew(by, next time.Duration) error
	// Lose says that nobody keeps it right any more.
	Lose() error
}

// Keeper asks the servers until its Run ends. Who calls Run sets the exported fields before.
type Keeper struct {
	Clock   Clock
	Servers func() []string  // HOST or HOST:PORT; asked before each round and while it waits, so that a change is noticed
	Floor   time.Time        // a server that says an earlier time is not believed
	Tell    func(State)      // called after each round
	Stepped *Step            // by an earlier Run
	Now     func() time.Time // what Clock shows

	shortest, longest time.Duration // between two rounds; zero: 64 s and 1024 s
	look              time.Duration // how often Servers is looked at; zero: 2 s
	dial              func(ctx context.Context, network, address string) (net.Conn, error)

	state  State
	set    bool // once, since Run began
	poll   time.Duration
	missed int // rounds in a row without an answer
	off    time.Duration
	ahead  int // rounds in a row that said off
	silent map[string]time.Time
}

// Run keeps the clock until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	k.shortest, k.longest = cmp.Or(k.shortest, 64*time.Second), cmp.Or(k.longest, 1024*time.Second)
	k.look = cmp.Or(k.look, 2*time.Second)
	if k.dial == nil {
		k.dial = (&net.Dialer{}).DialContext
	}
	k.silent = map[string]time.Time{}
	k.state.Stepped = k.Stepped
	for ctx.Err() == nil {
		servers := k.Servers()
		next := k.round(ctx, servers)
		if ctx.Err() != nil {
			break
		}
		k.Tell(k.state)
		k.wait(ctx, next, servers)
	}
	return nil
}

// wait waits for the next round, or until there are other servers.
func (k *Keeper) wait(ctx context.Context, d time.Duration, asked []string) {
	look := time.NewTicker(min(d, k.look))
	defer look.Stop()
	end := time.After(d)
	for {
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-look.C:
			if !slices.Equal(k.Servers(), asked) {
				return
			}
		}
	}
}

// round asks once, and does what comes of it. It gives the time until the next.
func (k *Keeper) round(ctx context.Context, servers []string) time.Duration {
	if len(servers) == 0 {
		k.fail("no server is known")
		return k.shortest
	}
	samples, silence := k.ask(ctx, servers)
	best, err := agree(samples)
	if err != nil {
		k.fail(strings.Join(append(silence, err.Error()), "; "))
		// Nothing was set yet: the network may be just coming up.
		if !k.state.Synced && k.missed < reach {
			return k.shortest / 16
		}
		return k.shortest
	}
	k.missed = 0
	return k.apply(best)
}

// fail notes a round that came to nothing.
func (k *Keeper) fail(why string) {
	k.missed++
	k.state.Why = why
	if k.state.Synced && k.missed >= reach {
		k.state.Synced = false
		if err := k.Clock.Lose(); err != nil {
			k.state.Why += "; " + err.Error()
		}
	}
}

// apply has the clock follow a sample.
func (k *Keeper) apply(s sample) (next time.Duration) {
	err := error(nil)
	next = k.shortest
	switch far := s.offset.Abs() > slewMost; {
	case !far:
		k.ahead = 0
		k.poll = min(max(2*k.poll, k.shortest), k.longest)
		if s.offset.Abs() > slewMost/8 {
			k.poll = k.shortest
		}
		next = k.poll
		err = k.Clock.Slew(s.offset, next)
	case !k.set:
		err = k.step(s.offset)
	default:
		if k.ahead == 0 || (s.offset-k.off).Abs() > slewMost {
			k.off, k.ahead = s.offset, 0
		}
		if k.ahead++; k.ahead < jumps {
			k.state.Why = fmt.Sprintf("%s says that the clock is off by %v; asked again before that is believed", s.server, s.offset.Round(time.Millisecond))
			return next / 4
		}
		err = k.step(s.offset)
		k.ahead = 0
	}
	if err != nil {
		k.fail(err.Error())
		return next
	}
	k.set = true
	k.state = State{Synced: true, Server: s.server, Stratum: s.stratum, Offset: s.offset, Heard: k.Now(), Stepped: k.state.Stepped}
	return next
}

func (k *Keeper) step(by time.Duration) error {
	from := k.Now()
	if err := k.Clock.Step(by); err != nil {
		return err
	}
	k.state.Stepped = &Step{From: from.Round(0), To: from.Round(0).Add(by)}
	return nil
}

// sample is what one server said.
type sample struct {
	server  string
	stratum int
	offset  time.Duration // what is to be added to our clock
	error   time.Duration // by which offset may be wrong, either way
}

// ask asks all servers at once. silence says what became of those that have no sample.
func (k *Keeper) ask(ctx context.Context, servers []string) (samples []sample, silence []string) {
	type answer struct {
		sample
		err error
	}
	answers := make([]answer, min(len(servers), maxServers))
	var all sync.WaitGroup
	for i := range answers {
		server := servers[i]
		if k.Now().Before(k.silent[server]) {
			answers[i].err = errors.New("asked to be left alone")
			continue
		}
		all.Go(func() { answers[i].sample, answers[i].err = k.query(ctx, server) })
	}
	all.Wait()
	for i, a := range answers {
		if errors.Is(a.err, protocol.ErrKissOfDeath) {
			k.silent[servers[i]] = k.Now().Add(quiet)
		}
		if a.err != nil {
			silence = append(silence, fmt.Sprintf("%s: %v", servers[i], a.err))
			continue
		}
		samples = append(samples, a.sample)
	}
	return samples, silence
}

// query asks one server.
func (k *Keeper) query(ctx context.Context, server string) (sample, error) {
	r, err := protocol.QueryWithOptions(hostPort(server), protocol.QueryOptions{
		Timeout:       queryTime,
		GetSystemTime: k.Now,
		Dialer: func(_, remote string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, queryTime)
			defer cancel()
			return k.dial(ctx, "udp", remote)
		},
	})
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return sample{}, err
	}
	if says := k.Now().Add(r.ClockOffset); says.Before(k.Floor) {
		return sample{}, fmt.Errorf("says %s, which is before this version was made", says.UTC().Format(time.DateTime))
	}
	return sample{server: server, stratum: int(r.Stratum), offset: r.ClockOffset, error: max(r.RootDistance, time.Microsecond)}, nil
}

const port = 123

// hostPort adds the port where there is none.
func hostPort(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), strconv.Itoa(port))
}
