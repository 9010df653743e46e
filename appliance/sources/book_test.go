package sources

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"
)

var (
	start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	home  = netip.MustParseAddr("100.64.0.9")
	dest  = netip.MustParsePrefix("192.0.2.0/24")
)

func address(i int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 100<<24+uint32(i))
	return netip.AddrFrom4(a)
}

func network(i int) netip.Prefix {
	return netip.PrefixFrom(address(i<<8), 24)
}

func TestWhatASourceDid(t *testing.T) {
	t.Parallel()
	b := New()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	v6 := netip.MustParseAddr("2001:db8:1:2::77")
	b.Session(home, "100.64.0.9/32", true, dest, at(0))
	b.Ended(home, "100.64.0.9/32", Facts{JA4: "t13d1516h2_8daaf6152771_02713d6af862", Messages: 2}, at(time.Second))
	b.Session(home, "100.64.0.9/32", true, netip.Prefix{}, at(2*time.Second))
	b.Denied(home, "100.64.0.9/32")
	b.Session(home, "100.64.0.9/32", true, network(3), at(3*time.Second+999*time.Millisecond))
	b.Ended(home, "100.64.0.9/32", Facts{JA4: "t13i190800_8daaf6152771_9dc949149365"}, at(4*time.Second)) // the same client without SNI
	b.Session(v6, "2001:db8:1::/56", true, dest, at(5*time.Second))
	b.Session(netip.MustParseAddr("2001:db8:1:2::78"), "2001:db8:1::/56", true, dest, at(6*time.Second))
	b.Session(netip.MustParseAddr("100.64.0.10"), "S-1001", false, dest, at(7*time.Second))
	b.Denied(address(7), "nobody") // what is not in the book is not counted
	b.Ended(address(7), "nobody", Facts{Messages: 9}, at(0))

	got, next := b.Unmapped(10, "", at(time.Minute), nil)
	want := []Source{
		{Prefix: netip.MustParsePrefix("2001:db8:1:2::/64"), Subscriber: "2001:db8:1::/56", Unlisted: true, First: at(5 * time.Second), Last: at(6 * time.Second), Sessions: 2, Destinations: 1},
		{Prefix: netip.MustParsePrefix("100.64.0.9/32"), Subscriber: "100.64.0.9/32", Unlisted: true, First: at(0), Last: at(4 * time.Second), Sessions: 3, Denied: 1, Messages: 2, Destinations: 2, Clients: 1},
	}
	if !reflect.DeepEqual(got, want) || next != "" {
		t.Errorf("next %q\n got %+v\nwant %+v", next, got, want)
	}
	if got, want := b.Stats(), (Stats{Sources: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAnAddressThatChangesHandsBeginsAnew(t *testing.T) {
	t.Parallel()
	b := New()
	b.Session(home, "100.64.0.9/32", true, dest, start)
	b.Session(home, "radius:alice", true, network(1), start.Add(time.Hour))
	b.Session(home, "radius:alice", true, network(2), start.Add(2*time.Hour))
	b.Session(home, "S-1001", false, network(2), start.Add(3*time.Hour))
	got, _ := b.Unmapped(10, "", start, nil)
	if len(got) != 2 || got[0].Subscriber != "radius:alice" || got[0].Sessions != 2 || got[0].Destinations != 2 || got[1].Sessions != 1 {
		t.Errorf("%+v", got)
	}
}

func TestPagesOfTheList(t *testing.T) {
	t.Parallel()
	b := New()
	const n = 1000
	for i := range n {
		b.Session(address(i), "", true, dest, start.Add(time.Duration(i/3)*time.Second)) // three at a time
	}
	all, _ := b.Unmapped(n, "", start, nil)
	if !slices.IsSortedFunc(all, order) || len(all) != n {
		t.Fatalf("%d, sorted: %v", len(all), slices.IsSortedFunc(all, order))
	}
	var paged []Source
	for cursor, more := "", true; more; more = cursor != "" {
		var some []Source
		some, cursor = b.Unmapped(7, cursor, start, nil)
		paged = append(paged, some...)
		b.Session(address(5000+len(paged)), "", true, dest, start.Add(time.Hour)) // a newcomer moves nobody to another page
	}
	if !reflect.DeepEqual(all, paged) {
		t.Errorf("%d in pages, %d at once", len(paged), len(all))
	}
	for _, bad := range []string{"x", "1,2,3", "1,100.0.0.1/32", ",,", "9999999999999999999999,100.0.0.1/32,"} {
		if some, _ := b.Unmapped(1, bad, start, nil); len(some) != 1 || some[0].Last != start.Add(time.Hour) {
			t.Errorf("cursor %q: %+v", bad, some)
		}
	}
}

// Whoever sees no addresses sees those of one second in an order that does not tell them, the same on every page.
func TestATieTakesThePlaceOfThePrefix(t *testing.T) {
	t.Parallel()
	b := New()
	const n = 300
	tie := func(subscriber string) uint64 { return maphash.String(lot, subscriber) }
	for i := range n {
		b.Session(address(i), address(i).String()+"/32", true, dest, start.Add(time.Duration(i/100)*time.Second))
	}
	var paged []Source
	for cursor, more := "", true; more; more = cursor != "" {
		var some []Source
		some, cursor = b.Unmapped(7, cursor, start, tie)
		paged = append(paged, some...)
	}
	if len(paged) != n || !slices.IsSortedFunc(paged, func(a, b Source) int { return b.Last.Compare(a.Last) }) {
		t.Fatalf("%d, the one seen last first: %+v", len(paged), paged[:3])
	}
	rising := 0
	for i := range paged[1:] {
		if paged[i].Last.Equal(paged[i+1].Last) && paged[i].Prefix.Compare(paged[i+1].Prefix) < 0 {
			rising++
		}
	}
	if rising < 100 || rising > 200 { // of 297
		t.Errorf("%d are greater than the one before them", rising)
	}
}

var lot = maphash.MakeSeed()

// model is the book as one would write it without a thought for time or memory.
type model struct {
	most         [2]int // newcomers, known
	fresh, known []*modelPage
	forgotten    uint64
}

type modelPage struct {
	key
	first, last                uint32
	sessions, denied, messages uint64
}

func (m *model) find(k key) (p *modelPage, known bool) {
	for i, l := range [][]*modelPage{m.fresh, m.known} {
		for _, p := range l {
			if p.key == k {
				return p, i == 1
			}
		}
	}
	return nil, false
}

// front puts p in front of a list, without one that makes room.
func (m *model) front(l []*modelPage, p *modelPage, most int) []*modelPage {
	l = slices.DeleteFunc(l, func(q *modelPage) bool { return q == p })
	if len(l) == most {
		l = l[:most-1]
		m.forgotten++
	}
	return append([]*modelPage{p}, l...)
}

func TestTheBookAgainstAPlainOne(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBook(40, 10)
		m := &model{most: [2]int{10, 30}}
		now := start
		for step := range 6_000 {
			now = now.Add(time.Duration(r.IntN(3)) * time.Second)
			addr, sub := address(r.IntN(50)), fmt.Sprint("s", r.IntN(2))
			k := keyOf(addr, sub)
			p, known := m.find(k)
			switch r.IntN(5) {
			case 0, 1, 2:
				b.Session(addr, sub, true, dest, now)
				if p == nil {
					p = &modelPage{key: k, first: seconds(now)}
				}
				p.sessions++
				p.last = seconds(now)
				if known {
					m.known = m.front(m.known, p, 30)
				} else {
					m.fresh = m.front(m.fresh, p, 10)
				}
			case 3:
				b.Denied(addr, sub)
				if p != nil {
					p.denied++
				}
			case 4:
				b.Ended(addr, sub, Facts{Messages: 1}, now)
				if p != nil {
					p.messages++
					p.last = seconds(now)
					m.fresh = slices.DeleteFunc(m.fresh, func(q *modelPage) bool { return q == p })
					m.known = m.front(m.known, p, 30)
				}
			}
			if step%50 != 0 {
				continue
			}
			var want []Source
			for _, p := range slices.Concat(m.fresh, m.known) {
				want = append(want, Source{Prefix: p.prefix(), Subscriber: p.subscriber, Unlisted: true, First: time.Unix(int64(p.first), 0).UTC(), Last: time.Unix(int64(p.last), 0).UTC(),
					Sessions: p.sessions, Denied: p.denied, Messages: p.messages, Destinations: 1})
			}
			slices.SortFunc(want, order)
			got, _ := b.Unmapped(100, "", now, nil)
			if !reflect.DeepEqual(got, want) || b.Stats() != (Stats{len(want), m.forgotten}) {
				t.Fatalf("seed %d, step %d: %+v, %d forgotten\n got %v\nwant %v", seed, step, b.Stats(), m.forgotten, got, want)
			}
		}
	}
}

func TestForgedSourcesPushOutOnlyEachOther(t *testing.T) {
	t.Parallel()
	b := New()
	const real = 1000
	for i := range real {
		b.Session(address(i), "", true, dest, start)
		b.Ended(address(i), "", Facts{Messages: 1}, start)
	}
	for i := range 10 * Capacity {
		b.Session(address(1_000_000+i), "", true, dest, start.Add(time.Second))
	}
	all, _ := b.Unmapped(Capacity, "", start, nil)
	left := 0
	for _, s := range all {
		if s.Messages > 0 {
			left++
		}
	}
	if want := (Stats{Sources: real + newcomers, Forgotten: 10*Capacity - newcomers}); left != real || b.Stats() != want {
		t.Errorf("%d of %d are left: %+v, want %+v", left, real, b.Stats(), want)
	}
}

func TestDistinctDestinationsWithinTheirError(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n     int
		error float64 // of one standard error, as the package's comment states it
	}{{1, 0}, {5, 0.1}, {30, 0.06}, {100, 0.06}, {500, 0.06}, {1000, 0.06}, {2000, 0.1}} {
		var squares float64
		const runs = 400
		for run := range runs {
			b := newBook(1, 1)
			for i := range c.n {
				b.Session(home, "", true, network(run*c.n+i), start)
				b.Session(home, "", true, network(run*c.n+i), start) // again: it is known
			}
			off := float64(b.pages[0].destinations()-c.n) / float64(c.n)
			squares += off * off
		}
		if got := math.Sqrt(squares / runs); got > c.error {
			t.Errorf("%d destinations: %.1f %% off, at most %.1f %% is promised", c.n, 100*got, 100*c.error)
		}
	}
	var p page
	for i := range p.dests {
		p.dests[i] = math.MaxUint64
	}
	if p.destinations() != fullEstimate {
		t.Errorf("%d", p.destinations())
	}
	p.dests[0]--
	if n := p.destinations(); n != fullEstimate {
		t.Errorf("with one bit left %d", n)
	}
}

func TestItIsAsSmallAndQuickAsItSays(t *testing.T) {
	size := Capacity*int(unsafe.Sizeof(page{})) + len(newIndex(Capacity))*4
	t.Logf("%d bytes a source, %.2f MB in all", unsafe.Sizeof(page{}), float64(size)/1e6)
	if size > 4_700_000 {
		t.Errorf("%d bytes", size)
	}
	b := New()
	i := 0
	if n := testing.AllocsPerRun(50_000, func() {
		i++
		a := address(i)
		b.Session(a, "S", true, network(i), start)
		b.Denied(a, "S")
		b.Ended(a, "S", Facts{JA4: "t13d1516h2_8daaf6152771_02713d6af862", Messages: 1}, start)
	}); n != 0 {
		t.Errorf("%v allocations for each session", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := New()
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range 5000 {
				a := address(i % 700)
				b.Session(a, "S", true, network(i), start.Add(time.Duration(i)*time.Second))
				b.Ended(a, "S", Facts{JA4: fmt.Sprintf("t13d1516h2_%012x_02713d6af862", i%(w+5))}, start.Add(time.Duration(i)*time.Second))
			}
		})
	}
	for range 50 {
		b.Unmapped(10, "", start, nil)
		b.Crowds(start)
	}
	all.Wait()
	sessions := uint64(0)
	list, _ := b.Unmapped(Capacity, "", start, nil)
	for _, s := range list {
		sessions += s.Sessions
	}
	if sessions != 4*5000 || len(list) != 700 {
		t.Errorf("%d sessions of %d sources", sessions, len(list))
	}
}

func BenchmarkSession(b *testing.B) {
	for name, sources := range map[string]int{"16384 known ones": Capacity - newcomers, "forged, each once": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			book := New()
			for i := range min(sources, Capacity) {
				book.Session(address(i), "S", true, dest, start)
				book.Ended(address(i), "S", Facts{}, start)
			}
			order := rand.New(rand.NewPCG(1, 1)).Perm(Capacity - newcomers)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				n := i
				if sources < 1<<30 {
					n = order[i%len(order)]
				} else {
					n += Capacity
				}
				book.Session(address(n), "S", true, dest, start)
				i++
			}
		})
	}
}

func BenchmarkEnded(b *testing.B) {
	book := New()
	for i := range Capacity - newcomers {
		book.Session(address(i), "S", true, dest, start)
		book.Ended(address(i), "S", Facts{}, start)
	}
	order := rand.New(rand.NewPCG(1, 1)).Perm(Capacity - newcomers)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		book.Ended(address(order[i%len(order)]), "S", Facts{JA4: "t13d1516h2_8daaf6152771_02713d6af862", Messages: 1}, start)
		i++
	}
}

// BenchmarkWhileListed is how long a Session waits at worst while a page of the list is made again and again.
func BenchmarkWhileListed(b *testing.B) {
	book := New()
	for i := range Capacity - newcomers {
		book.Session(address(i), "S", true, dest, start)
		book.Ended(address(i), "S", Facts{}, start)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				book.Unmapped(100, "", start, nil)
			}
		}
	}()
	var took []time.Duration
	i := 0
	for b.Loop() {
		t := time.Now()
		book.Session(address(i%(Capacity-newcomers)), "S", true, dest, start)
		took = append(took, time.Since(t))
		i++
	}
	close(stop)
	<-done
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	b.ReportMetric(float64(took[len(took)*9999/10000].Nanoseconds()), "p99.99-ns")
}
