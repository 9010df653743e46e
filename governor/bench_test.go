package governor

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor/memory"
)

// residential is the contract's plan of that name, seven budgets.
func residential() Policy {
	return home(StageCut,
		Budget{Of: Sessions, Limit: 20, Per: time.Hour, Burst: 5}, Budget{Of: Sessions, Limit: 100, Per: 24 * time.Hour},
		Budget{Of: TLSHandshakes, Limit: 20, Per: time.Hour, Burst: 5}, Budget{Of: TLSFailures, Limit: 10, Per: time.Hour},
		Budget{Of: ConcurrentSessions, Limit: 3}, Budget{Of: Destinations, Limit: 5, Per: time.Hour}, Budget{Of: Messages, Limit: 60, Per: time.Hour})
}

func names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("100.%d.%d.%d/32", i>>16, i>>8&255, i&255)
	}
	return out
}

// saved takes everything that is to be saved.
func saved(g *Governor) {
	for g.pop() != 0 {
	}
}

// BenchmarkGrowth fills the table to a million and reports the slowest of them: the growth of the table is what may
// take long, and so is whatever else the machine does meanwhile.
func BenchmarkGrowth(b *testing.B) {
	ids := names(MaxSubscribers)
	took := make([]time.Duration, len(ids))
	for b.Loop() {
		now := time.Now()
		g := New(residential(), now)
		for i, id := range ids {
			began := time.Now()
			g.Open(Attempt{Subscriber: id, Plan: "home"}, now)
			took[i] = time.Since(began)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "ns/median")
	b.ReportMetric(float64(took[len(took)-len(took)/1000].Nanoseconds()), "ns/p99.9")
	b.ReportMetric(float64(took[len(took)-11].Nanoseconds()), "ns/eleventh-slowest")
	b.ReportMetric(float64(took[len(took)-1].Nanoseconds()), "ns/slowest")
}

// BenchmarkSession is one session within budget: Open, a handshake, a message, Close.
func BenchmarkSession(b *testing.B) {
	for _, n := range []int{4000, MaxSubscribers} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g, ids, now := New(residential(), t0), names(n), t0
			for _, id := range ids {
				g.Open(Attempt{Subscriber: id, Plan: "home"}, now)
				g.Close(id, now)
			}
			saved(g)
			runtime.GC()
			rnd := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Hour / time.Duration(n) / 4) // everybody four times an hour: plain passes
				id := ids[rnd.IntN(n)]
				g.Open(Attempt{Subscriber: id, Plan: "home"}, now)
				g.Spend(id, "home", TLSHandshakes, 1, now)
				g.Spend(id, "home", Messages, 1, now)
				g.Close(id, now)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	g, now := New(residential(), t0), t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(15 * time.Minute)
		g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
		g.Close("S", now)
	}
}

// BenchmarkDenied is somebody far over the budget who goes on.
func BenchmarkDenied(b *testing.B) {
	p := residential()
	p.Plans[0].HighestStage = StageDefer
	g, now := New(p, t0), t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
	}
}

func BenchmarkSpend(b *testing.B) {
	g, now := New(residential(), t0), t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Minute)
		g.Spend("S", "home", Messages, 1, now)
	}
}

// BenchmarkOpenByManyWorkers is what a mutex costs when workers meet at it.
func BenchmarkOpenByManyWorkers(b *testing.B) {
	g, ids := New(residential(), t0), names(4000)
	b.RunParallel(func(pb *testing.PB) {
		rnd := rand.New(rand.NewPCG(rand.Uint64(), 2))
		for now := t0; pb.Next(); now = now.Add(time.Second) {
			id := ids[rnd.IntN(len(ids))]
			if d := g.Open(Attempt{Subscriber: id, Plan: "home"}, now); d.LetThrough() {
				g.Close(id, now)
			}
		}
	})
}

// BenchmarkTick is one second's work with a million subscribers in memory, a hundred thousand of them above observe.
func BenchmarkTick(b *testing.B) {
	g, now := New(residential(), t0), t0
	for i, id := range names(MaxSubscribers) {
		for range 1 + i%10/9*3 {
			g.Open(Attempt{Subscriber: id, Plan: "home"}, now)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		g.Tick(now)
	}
}

// BenchmarkMemory reports the bytes a subscriber takes whose budgets are all live, its name included.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		ids := names(MaxSubscribers)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		g := New(residential(), t0)
		for i, id := range ids {
			alive(g, id, i, t0)
		}
		saved(g)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/MaxSubscribers, "B/subscriber")
		runtime.KeepAlive(g)
		runtime.KeepAlive(ids)
	}
}

// BenchmarkTable holds a whole Open, over the seven budgets of the residential plan, against a plain lookup of the same
// names in a Go map: for a random one of a million, and for one that is hot. The ratios are what counts; all of them
// come from one run.
//
// What a random one costs is waiting for memory. In a loop of plain lookups the processor begins the next ones while it
// waits, some four at once, and the loop takes a fraction of what one lookup takes; an Open is too long for that, and so is
// what a packet goes through between two lookups. So there are two: lookups as they come, and lookups of which each must be
// waited for before the next is known, which is what an Open can be compared with.
func BenchmarkTable(b *testing.B) {
	const n, batch = 1_000_000, 4096
	ids := names(n)
	plain := make(map[string]int32, n)
	for i, id := range ids { // the names are not the same memory, as they are not where an address was looked up
		plain[strings.Clone(id)] = int32(i)
	}
	now := time.Now()                           // with its monotonic reading, as the packet path has it
	g := NewIn(memory.Huge, residential(), now) // as the appliance has it
	for i, id := range ids {
		alive(g, id, i, now)
	}
	now = now.Add(4 * time.Minute) // nobody is near a budget any more, and everybody has used of them
	saved(g)
	runtime.GC()
	rnd := rand.New(rand.NewPCG(1, 2))
	var some, order [batch]int
	draw := func() {
		for i := range some {
			some[i] = rnd.IntN(n)
			order[i] = some[i] + rnd.IntN(2)
		}
	}
	var lookup, waited, alone, finding, random, hot []time.Duration
	var mu sync.Mutex
	sum := int32(0)
	var try [batch]Attempt
	for b.Loop() {
		now = now.Add(20 * time.Second)
		draw()
		began := time.Now()
		for _, i := range some {
			sum += plain[ids[i]]
		}
		lookup = append(lookup, time.Since(began))
		draw()
		began = time.Now()
		for j, last := 0, int32(0); j < batch; j++ {
			last = plain[ids[some[j+int(last>>30)]]] // last>>30 is 0, which the processor finds out when it has the last one
			sum += last
		}
		waited = append(waited, time.Since(began))
		draw()
		began = time.Now()
		for _, i := range some {
			mu.Lock()
			sum += plain[ids[i]]
			mu.Unlock()
		}
		alone = append(alone, time.Since(began))
		draw()
		began = time.Now()
		for _, i := range some {
			slot, _ := g.find(ids[i])
			sum += int32(slot)
		}
		finding = append(finding, time.Since(began))
		draw()
		for j, i := range some {
			try[j] = attempt(ids[i], order[j])
		}
		began = time.Now()
		for j := range try {
			d := g.Open(try[j], now)
			sum += int32(d.Action)
		}
		random = append(random, time.Since(began))
		for _, i := range some {
			g.Close(ids[i], now)
		}
		one := attempt(ids[7], 7)
		slot, _ := g.find(ids[7])
		first := g.record(slot)
		as := *first
		began = time.Now()
		for range batch {
			d := g.Open(one, now)
			sum += int32(d.Action)
			*first = as // as if it had never been: time that passes here would make everybody's budgets whole
		}
		hot = append(hot, time.Since(began))
	}
	// the median round: other work on the machine touches some of them
	per := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds()) / batch
	}
	b.ReportMetric(per(lookup), "ns/map-lookup")
	b.ReportMetric(per(waited), "ns/map-lookup-waited-for")
	b.ReportMetric(per(alone), "ns/locked-lookup")
	b.ReportMetric(per(finding), "ns/find")
	b.ReportMetric(per(random), "ns/random-open")
	b.ReportMetric(per(hot), "ns/hot-open")
	b.ReportMetric(per(random)/per(waited), "random/map-waited-for")
	b.ReportMetric(per(random)/per(lookup), "random/map")
	b.ReportMetric(per(hot)/per(lookup), "hot/map")
	b.ReportMetric(0, "ns/op")
	if len(g.rare.all) > n/100 { // some come thrice within minutes and are warned
		b.Errorf("%d of %d went the long way", len(g.rare.all), len(random)*batch)
	}
}

// alive makes every budget of id live: two sessions to two networks, handshakes, a message.
func alive(g *Governor, id string, network int, now time.Time) {
	for k := range 2 {
		g.Open(attempt(id, network+k), now)
		g.Spend(id, "home", TLSHandshakes, 1, now)
		g.Close(id, now)
	}
	g.Spend(id, "home", TLSFailures, 1, now)
	g.Spend(id, "home", Messages, 1, now)
}

func attempt(id string, network int) Attempt {
	return Attempt{Subscriber: id, Plan: "home", Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(network >> 16), byte(network >> 8), byte(network), 0}), 24)}
}

// BenchmarkSpendEstimated is somebody whose messages are all inside TLS.
func BenchmarkSpendEstimated(b *testing.B) {
	g, now := New(residential(), t0), t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Minute)
		g.SpendEstimated("S", "home", 1, now)
	}
}

// BenchmarkSpendBesideEstimates is somebody with messages of both kinds.
func BenchmarkSpendBesideEstimates(b *testing.B) {
	g, now := New(residential(), t0), t0
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Minute)
		g.SpendEstimated("S", "home", 1, now)
		now = now.Add(time.Minute)
		g.Spend("S", "home", Messages, 1, now)
	}
}
