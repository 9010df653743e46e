package subscriber

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// many is a directory of n lines, each with a session of RADIUS on an address of its own.
func many(t *testing.T, n int) *Directory {
	t.Helper()
	var b strings.Builder
	b.WriteString("subscriber,plan,circuits\n")
	for i := range n {
		fmt.Fprintf(&b, "S-%d,residential,acct-%d\n", i, i)
	}
	d := NewDirectory(parse(t, b.String()))
	for i := range n {
		if _, err := d.Bind(radius(nth(i), fmt.Sprintf("nas|%d", i), fmt.Sprintf("acct-%d", i)), t0, t0); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func nth(i int) string { return fmt.Sprintf("100.%d.%d.%d/32", 64+i>>16, i>>8&255, i&255) }

// sound looks at everything that follows from the claims and the list in force.
func (d *Directory) sound(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.view.Load()
	unknown, madeUp, overruled := 0, map[string]bool{}, 0
	for p, first := range d.claims {
		var best *claim
		for c := first; c != nil; c = c.next {
			id, row := resolve(v.table, c.source, c.name, c.circuits)
			if c.id != id || c.row != row || c.era != d.era {
				t.Errorf("%s is %q in row %d, and by the list %q in row %d", p, c.id, c.row, id, row)
			}
			linked := false
			for l := d.lines[c.id]; l != nil; l = l.elder {
				linked = linked || l == c
			}
			if linked != (c.id != "") {
				t.Errorf("%s of %q is linked: %v", p, c.id, linked)
			}
			if c.id == "" {
				unknown++
			} else if best == nil || best.madeUp() && !c.madeUp() {
				best = c
			}
			if c.madeUp() {
				madeUp[c.id] = true
			}
			if c.overrule != "" {
				overruled++
			}
		}
		var found *held
		if room, there := v.cells.Get(p); there {
			found = room.now.Load()
		}
		if best == nil && found != nil || best != nil && (found == nil || *found != *best.held()) {
			t.Errorf("%s is found as %+v", p, found)
		}
	}
	for p, room := range v.cells.All() {
		if h := room.now.Load(); h != nil && d.claims[p] == nil {
			t.Errorf("%s is %s's without a binding", p, h.id)
		}
	}
	if d.unknown != unknown || d.made.lines != len(madeUp) || d.made.overruled != overruled || d.coming != nil || d.renewal != nil {
		t.Errorf("%d unknown, %d made up, %d overruled, and they are %d, %d, %d", d.unknown, d.made.lines, d.made.overruled, unknown, len(madeUp), overruled)
	}
}

// RADIUS is heard while a list is taken that has to do with every binding: what comes meanwhile counts at once, and by
// the new list when that is in force.
func TestAddressesMoveWhileAListIsTaken(t *testing.T) {
	t.Parallel()
	const n = 50_000
	d := many(t, n)
	next := parse(t, "subscriber,plan,circuits\nS-0,residential,acct-0\nnew,residential,acct-1\n")
	taken := make(chan struct{})
	go func() {
		d.SetTable(next, t0.Add(time.Second))
		close(taken)
	}()
	for d.tables.TryLock() { // until it has begun
		d.tables.Unlock()
	}
	moves := 0
	for done := false; !done; moves++ {
		select {
		case <-taken:
			done = true
		default:
		}
		p := netip.MustParsePrefix(nth(n + moves%1000))
		now := t0.Add(2*time.Second + time.Duration(moves)*time.Microsecond)
		if _, err := d.BindSession([]Binding{radius(p.String(), "nas|0", "acct-0")}, now, now); err != nil {
			t.Fatal(err)
		}
		if h, _ := d.Lookup(p.Addr()); h.ID != "S-0" {
			t.Fatalf("%s is %q's after it was given to S-0", p, h.ID)
		}
		time.Sleep(100 * time.Microsecond) // not to take all the turns
	}
	if moves < 20 {
		t.Errorf("only %d addresses moved while the list was taken", moves)
	}
	if h, _ := d.Lookup(addr("100.64.0.1")); h.ID != "new" {
		t.Errorf("acct-1 is %q's by the list that was taken", h.ID)
	}
	d.sound(t)
}

// Bindings of all sources come and go while one list after the other is taken.
func TestListsAreTakenWhileBindingsComeAndGo(t *testing.T) {
	t.Parallel()
	const n, names = 3000, 200
	lists := make([]*Table, 3)
	for k := range lists {
		var b strings.Builder
		b.WriteString("subscriber,plan,prefixes,circuits\n")
		for i := range names {
			if i%7 != k { // some lines are missing, and circuits have moved on
				fmt.Fprintf(&b, "S-%d,residential,100.65.%d.%d,acct-%d\n", i, k, i, (i+k)%names)
			}
		}
		lists[k] = parse(t, b.String())
	}
	d := NewDirectory(lists[0])
	var work sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 3 {
		work.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			now := t0
			for {
				select {
				case <-stop:
					return
				default:
				}
				now = now.Add(time.Millisecond)
				i := rnd.IntN(n)
				name, session := fmt.Sprintf("acct-%d", rnd.IntN(names*2)), fmt.Sprintf("nas|%d", i%500)
				switch rnd.IntN(8) {
				case 0:
					d.End(RADIUS, session, now, now)
				case 1:
					d.Unbind(RADIUS, netip.MustParsePrefix(nth(i)), now, now)
				case 2:
					d.Replace(Lease, "leases", []Binding{{Prefix: netip.MustParsePrefix(nth(i)), Circuits: []string{name}}}, now)
				case 3:
					_, _ = d.Bind(Binding{Prefix: netip.MustParsePrefix(nth(i)), Source: API, Subscriber: fmt.Sprintf("S-%d", rnd.IntN(names))}, now, now)
				case 4:
					d.Of(fmt.Sprintf("S-%d", rnd.IntN(names)))
					d.At(netip.MustParsePrefix(nth(i)).Addr(), now, now)
				default:
					_, _ = d.BindSession([]Binding{radius(nth(i), session, name)}, now, now)
				}
			}
		})
	}
	for round := range 60 {
		d.SetTable(lists[(round+1)%len(lists)], t0.Add(time.Duration(round)*time.Second))
	}
	close(stop)
	work.Wait()
	d.sound(t)
}
