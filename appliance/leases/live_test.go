package leases

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// following is a Watcher at work in real time.
type following struct {
	*Watcher
	t    *testing.T
	mu   sync.Mutex
	sets [][]string
}

func follow(t *testing.T, format Format, path string) *following {
	t.Helper()
	f := &following{t: t}
	f.Watcher = New(Options{Path: path, Format: format, Log: slog.New(slog.DiscardHandler), Now: time.Now, Handle: func(s Set) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sets = append(f.sets, written(s.Leases))
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// await waits until the last set has a lease of every one of these prefixes and of nobody else, each with these circuits
// first. It says how long that took.
func (f *following) await(why string, want map[string]string) time.Duration {
	f.t.Helper()
	began := time.Now()
	for time.Since(began) < 10*time.Second {
		if f.fits(want) {
			return time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t.Fatalf("%s: want %q, had %q; %+v", why, want, f.sets, f.Status())
	return 0
}

func (f *following) fits(want map[string]string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sets) == 0 {
		return false
	}
	last := f.sets[len(f.sets)-1]
	if len(last) != len(want) {
		return false
	}
	for _, l := range last {
		words := strings.SplitN(l, " ", 3)
		if circuits, ok := want[words[0]]; !ok || !strings.HasPrefix(words[2]+" ", circuits+" ") {
			return false
		}
	}
	return true
}

// neverLost fails when any set so far, from the first that had it, was without prefix.
func (f *following) neverLost(prefix string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	had := false
	for i, set := range f.sets {
		has := slices.ContainsFunc(set, func(l string) bool { return strings.HasPrefix(l, prefix+" ") })
		if had && !has {
			f.t.Errorf("set %d of %d is without %s: %q", i, len(f.sets), prefix, set)
		}
		had = had || has
	}
}

func home(n byte, circuit string) customer {
	c := customer{hardware: net.HardwareAddr{2, 0, 0x5e, 0, 0x53, n}, duid: []byte{0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, n}}
	if circuit != "" {
		c.circuit, c.remote = []byte(circuit), []byte{2, 0, 0x5e, 0, 0x54, n}
	}
	return c
}

func alone(a netip.Addr) string { return single(a).String() }

// promise is how long after the server's answer to its customer a change may take; a busy machine has twice that.
const promise = time.Second

func prompt(t *testing.T, why string, took time.Duration) {
	t.Helper()
	t.Logf("%s after %v", why, took.Round(time.Millisecond))
	if took > 2*promise {
		t.Errorf("%s after %v", why, took)
	}
}

func TestDnsmasqLive(t *testing.T) {
	t.Parallel()
	server, relays := network(t)
	path := filepath.Join(t.TempDir(), "dnsmasq.leases")
	f := follow(t, Dnsmasq, path)
	stop := startDnsmasq(t, server, path)
	r := newRelay(t, relays)

	a, b := home(1, ""), home(2, "")
	a.clientID = []byte{1, 2, 0, 0x5e, 0, 0x53, 1}
	addrA := r.lease4(a)
	prompt(t, "first lease", f.await("first lease", map[string]string{alone(addrA): "02:00:5e:00:53:01 01:02:00:5e:00:53:01"}))
	addrB := r.lease4(b)
	prompt(t, "second lease", f.await("second lease", map[string]string{alone(addrA): "02:00:5e:00:53:01", alone(addrB): "02:00:5e:00:53:02"}))
	r.release4(b, addrB)
	prompt(t, "release", f.await("release", map[string]string{alone(addrA): "02:00:5e:00:53:01"}))
	addr6 := r.lease6(a, 7, false)
	prompt(t, "IPv6 lease", f.await("IPv6 lease", map[string]string{alone(addrA): "02:00:5e:00:53:01", alone(addr6): "00:03:00:01:02:00:5e:00:53:01"}))
	stop()
	startDnsmasq(t, server, path)
	r.lease4(home(3, ""))
	f.neverLost(alone(addrA))
	if s := f.Status(); s.BadLines != 0 || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

// TestKeaLive4 runs through several cleanups of Kea's (lfc-interval 2 s), and through the end of a lease of 6 s.
func TestKeaLive4(t *testing.T) {
	t.Parallel()
	server, relays := network(t)
	path := filepath.Join(t.TempDir(), "kea-leases4.csv")
	f := follow(t, KeaCSV, path)
	startKea(t, server, 4, path, 6, 2)
	r := newRelay(t, relays)

	a, b := home(1, "olt1/3/7:12"), home(2, "OLT 1, 3/8")
	circuitsA, circuitsB := "olt1/3/7:12 0x6f6c74312f332f373a3132 02:00:5e:00:54:01 0x02005e005401 02:00:5e:00:53:01", "OLT_1,_3/8"
	addrA := r.lease4(a)
	prompt(t, "first lease", f.await("first lease", map[string]string{alone(addrA): circuitsA}))
	addrB := r.lease4(b)
	prompt(t, "second lease", f.await("second lease", map[string]string{alone(addrA): circuitsA, alone(addrB): circuitsB}))
	r.release4(b, addrB)
	prompt(t, "release", f.await("release", map[string]string{alone(addrA): circuitsA}))

	// A renews while files come and go; nobody else does anything.
	for cleanups, last := 0, int64(0); cleanups < 3; {
		if again := r.lease4(a); again != addrA {
			t.Fatalf("got %v, had %v", again, addrA)
		}
		if info, err := os.Stat(path + ".2"); err == nil && info.ModTime().UnixNano() != last {
			last = info.ModTime().UnixNano()
			cleanups++
		}
		time.Sleep(50 * time.Millisecond)
	}
	f.neverLost(alone(addrA))
	if !f.fits(map[string]string{alone(addrA): circuitsA}) {
		t.Errorf("after cleanups: %q", f.sets)
	}
	f.await("the end of the lease", map[string]string{})
	if s := f.Status(); s.BadLines != 0 || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}

func TestKeaLive6(t *testing.T) {
	t.Parallel()
	server, relays := network(t)
	path := filepath.Join(t.TempDir(), "kea-leases6.csv")
	f := follow(t, KeaCSV, path)
	startKea(t, server, 6, path, 600, 3600)
	r := newRelay(t, relays)
	r.lease6(home(1, "olt1/3/7:12"), 7, true)
	const duid = "00:03:00:01:02:00:5e:00:53:0"
	want := map[string]string{
		"2001:db8:9::100/128": "olt1/3/7:12 0x6f6c74312f332f373a3132 02:00:5e:00:54:01 0x02005e005401 " + duid + "1",
		"2001:db8:f000::/56":  "olt1/3/7:12 0x6f6c74312f332f373a3132 02:00:5e:00:54:01 0x02005e005401 " + duid + "1",
	}
	prompt(t, "address and prefix", f.await("address and prefix", want))
	r.lease6(home(2, ""), 8, true)
	want["2001:db8:9::101/128"], want["2001:db8:f000:100::/56"] = duid+"2", duid+"2"
	prompt(t, "of a second home", f.await("a second home", want))
	if s := f.Status(); s.BadLines != 0 || s.Problem != "" {
		t.Errorf("%+v", s)
	}
}
