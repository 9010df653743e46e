package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

// The subscribers: line n has an IPv4 address, an IPv6 /56, and a name towards RADIUS.
var (
	firstAddress = netip.MustParseAddr("10.0.0.0")
	allAddresses = netip.MustParsePrefix("10.0.0.0/12") // 2^20 of them
	firstMoving  = netip.MustParseAddr("100.96.0.0")    // what RADIUS gives out
)

func lineID(n int) string { return fmt.Sprintf("S-%07d", n) }

func writeLine(w io.Writer, n, address int, plan string) {
	fmt.Fprintf(w, "%s,%s,%s 2001:db8:2%03x:%02x00::/56,acct-%07d,Line %07d\n",
		lineID(n), plan, nth(firstAddress, address), n>>8, n&255, n, n)
}

// secret is what the box and the NAS share.
const secret = "bench-secret-of-the-lab"

// settings is the box's configuration.
const settings = `mode: enforce
network: {topology: routed, subscriber_interfaces: [lan0], upstream_interfaces: [wan0]}
identity:
  subscribers_file: subscribers.csv
  unmapped_plan: unmapped
  radius: {listen: ":1813", secret_file: radius.secret, clients: [192.0.2.0/24]}
plans:
  - {name: residential, preset: residential}
  - {name: other, preset: residential}
  - {name: unmapped, preset: unmapped}
admin: {listen: "127.0.0.1:8443"}
`

// world is everything that is made once: lists of subscribers, and data directories with what was saved of them. A box
// gets copies.
type world struct {
	dir         string
	subscribers int
	few         int // in the short list, which is read again quickly
	moved       int // lines of the long list that differ in its second version
}

// The lists, each in two versions, and the data directories.
const (
	longList, shortList = "long", "short"
	settled, behind     = "settled", "behind"
)

// makeWorld takes some seconds for a million subscribers.
func makeWorld(dir string, subscribers, few int) (*world, error) {
	w := &world{dir: dir, subscribers: subscribers, few: min(few, subscribers), moved: min(1000, subscribers/2)}
	for name, text := range map[string]string{"mailweir.yaml": settings, "radius.secret": secret + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	for version := range 2 {
		if err := errors.Join(
			// The second version of the long list: some lines have changed addresses with their neighbours.
			w.writeList(longList, version, subscribers, func(n int) (int, string) {
				if version == 1 && n < w.moved {
					return n ^ 1, "residential"
				}
				return n, "residential"
			}),
			// The second version of the short list: everybody is under another plan.
			w.writeList(shortList, version, w.few, func(n int) (int, string) {
				return n, []string{"residential", "other"}[version]
			})); err != nil {
			return nil, err
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "mailweir.yaml"))
	if err != nil {
		return nil, err
	}
	g := w.live(cfg.Policy(), time.Now())
	return w, errors.Join(w.save(g, settled), w.save(g, behind))
}

func (w *world) list(name string, version int) string {
	return filepath.Join(w.dir, fmt.Sprintf("%s-%d.csv", name, version))
}

func (w *world) writeList(name string, version, lines int, line func(n int) (address int, plan string)) (err error) {
	f, err := os.Create(w.list(name, version))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprintln(b, "subscriber,plan,prefixes,circuits,name")
	for n := range lines {
		address, plan := line(n)
		writeLine(b, n, address, plan)
	}
	return b.Flush()
}

// live is a governor in which everybody has begun two sessions to two networks, with a handshake and a message each, so
// that every budget of every line is in use. Less than the plan warns at: nobody is above stage observe.
func (w *world) live(p governor.Policy, now time.Time) *governor.Governor {
	g := governor.New(p, now)
	for n := range w.subscribers {
		id := lineID(n)
		for k := range 2 {
			to := netip.PrefixFrom(nth(netip.MustParseAddr("198.18.0.0"), (n+k)%512<<8), 24)
			if d := g.Open(governor.Attempt{Subscriber: id, Plan: "residential", Destination: to}, now); !d.LetThrough() {
				continue
			}
			g.Spend(id, "residential", governor.TLSHandshakes, 1, now)
			g.Spend(id, "residential", governor.Messages, 1, now)
			g.Close(id, now)
		}
	}
	return g
}

// save writes a data directory: settled has a snapshot of everybody, behind has everybody in the log, so that a box that
// finds it begins with a snapshot.
func (w *world) save(g *governor.Governor, name string) (err error) {
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	write := s.Save
	var snapshot *store.Snapshot
	if name == settled {
		if snapshot, err = s.Snapshot(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, snapshot.Abort()) }() // before the store is closed
		write = snapshot.Write
	}
	now := time.Now()
	for from := 0; from >= 0; {
		var some []governor.Saved
		some, from = g.Snapshot(from, 2000, now)
		if err := write(some, g.State(now, now)); err != nil {
			return err
		}
	}
	if snapshot != nil {
		return snapshot.Commit()
	}
	return nil
}

// copyData makes a data directory of its own for a box.
func (w *world) copyData(name, to string) error {
	return os.CopyFS(to, os.DirFS(filepath.Join(w.dir, name)))
}
