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
  - &large
    name: large
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 100000, per: 1h, burst: 10000}
      - {of: sessions, limit: 1000000, per: 24h}
      - {of: tls_handshakes, limit: 100000, per: 1h, burst: 10000}
      - {of: tls_failures, limit: 10000, per: 1h}
      - {of: concurrent_sessions, limit: 10000}
      - {of: destinations, limit: 100, per: 1h}
      - {of: messages, limit: 100000, per: 1h}
  - {<<: *large, name: other}
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

// newWorld is the world of a rig, in its directory.
func newWorld(r *rig, o Options) (*world, error) {
	o.progress("%d subscribers: lists, and data directories with what was saved of them", o.Subscribers)
	dir := filepath.Join(r.Dir, "world")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	w, err := makeWorld(dir, o.Subscribers, o.Changed)
	if err != nil {
		return nil, fmt.Errorf("make %d subscribers: %w", o.Subscribers, err)
	}
	return w, nil
}

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
			// The second version of the short list: everybody is under another plan. Both plans are large, because these few
			// have all the connections while they are changed.
			w.writeList(shortList, version, w.few, func(n int) (int, string) {
				return n, []string{"large", "other"}[version]
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

// live is a governor in which everybody has begun a session, with a handshake and a message, so that every budget of every
// line is in use, by less than half with another session: nobody is above stage observe, and connections leave no record
// but that of the session.
func (w *world) live(p governor.Policy, now time.Time) *governor.Governor {
	g := governor.New(p, now)
	for n := range w.subscribers {
		id := lineID(n)
		to := netip.PrefixFrom(nth(netip.MustParseAddr("198.18.0.0"), n%512<<8), 24)
		g.Open(governor.Attempt{Subscriber: id, Plan: "residential", Destination: to}, now)
		g.Spend(id, "residential", governor.TLSHandshakes, 1, now)
		g.Spend(id, "residential", governor.Messages, 1, now)
		g.Close(id, now)
	}
	return g
}

// save writes a data directory. Both have a snapshot of everybody; behind has a log as well that is so long that a box
// which finds it begins with a new snapshot.
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
	snapshot, err := s.Snapshot()
	if err != nil {
		return err
	}
	if err := errors.Join(walk(g, snapshot.Write), snapshot.Commit(), snapshot.Abort()); err != nil {
		return err
	}
	for name == behind && !s.SnapshotDue() {
		if err := walk(g, s.Save); err != nil {
			return err
		}
	}
	return nil
}

// walk gives everybody to write.
func walk(g *governor.Governor, write func([]governor.Saved, governor.SavedState) error) error {
	now := time.Now()
	for from := 0; from >= 0; {
		var some []governor.Saved
		some, from = g.Snapshot(from, 2000, now)
		if err := write(some, g.State(now, now)); err != nil {
			return err
		}
	}
	return nil
}

// copyData makes a data directory of its own for a box.
func (w *world) copyData(name, to string) error {
	return os.CopyFS(to, os.DirFS(filepath.Join(w.dir, name)))
}
