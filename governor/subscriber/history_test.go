package subscriber

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// had tells who had an address: "S-1 csv 10..20" with seconds since t0, "?" for not known and "" for still.
func (d *Directory) had(a string, at int) string {
	clock := func(t time.Time, zero string) string {
		if t.IsZero() {
			return zero
		}
		return fmt.Sprint(int(t.Sub(t0).Seconds()))
	}
	var all []string
	for _, b := range d.at(addr(a), after(at)) {
		all = append(all, fmt.Sprintf("%s %s %s..%s", b.Subscriber, b.Source, clock(b.From, "?"), clock(b.Until, "")))
	}
	return strings.Join(all, ", ")
}

// disk keeps what a directory saves.
type disk map[string][]byte

func (k disk) save(d *Directory) {
	for {
		list := d.Pending(7)
		for _, s := range list {
			if s.Value == nil {
				delete(k, string(s.Key))
			} else {
				k[string(s.Key)] = s.Value
			}
		}
		if len(list) < 7 {
			return
		}
	}
}

func (k disk) each(take func(key, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(k)) {
		if err := take([]byte(key), k[key]); err != nil {
			return err
		}
	}
	return nil
}

func TestWhatTheListSaidIsKept(t *testing.T) {
	t.Parallel()
	at := func(text string) *Table {
		return parse(t, "subscriber,plan,prefixes\nA,home,"+text+"\n")
	}
	d := NewDirectory(at("10.0.0.1\nB,home,10.0.0.2 10.9.0.0/16"))
	if got := d.SetTable(at("10.0.0.1 10.0.0.3\nB,home,10.0.0.2 10.9.0.0/16"), after(10)); fmt.Sprint(got) != "[{10.0.0.3/32  A csv "+after(10).String()+"}]" {
		t.Errorf("%v", got)
	}
	d.SetTable(at("10.0.0.3\nB,home,10.0.0.1 10.9.0.0/16"), after(20))
	d.SetTable(at("10.0.0.3\nB,home,10.9.0.0/16"), after(30))
	got := d.SetTable(at("10.0.0.3 10.9.9.9\nB,home,10.0.0.1 10.9.0.0/16"), after(40))
	slices.SortFunc(got, func(a, b Change) int { return a.Prefix.Compare(b.Prefix) })
	if len(got) != 2 || got[1].From != "B" || got[1].To != "A" {
		t.Errorf("%v", got)
	}
	check := func() {
		t.Helper()
		for _, c := range []struct {
			addr string
			at   int
			want string
		}{
			{"10.0.0.1", 5, "A csv ?..20"}, {"10.0.0.1", 20, "B csv 20..30"}, {"10.0.0.1", 29, "B csv 20..30"}, {"10.0.0.1", 30, ""},
			{"10.0.0.1", 39, ""}, {"10.0.0.1", 50, "B csv 40.."}, {"10.0.0.2", 19, "B csv ?..20"}, {"10.0.0.2", 20, ""}, {"10.0.0.3", 9, ""},
			{"10.0.0.3", 10, "A csv 10.."}, {"10.9.9.9", 39, "B csv ?.."}, {"10.9.9.9", 40, "A csv 40.., B csv ?.."}, {"10.7.7.7", 40, ""},
		} {
			if got := d.had(c.addr, c.at); got != c.want {
				t.Errorf("%s at %d: %q, want %q", c.addr, c.at, got, c.want)
			}
		}
	}
	check()
	k := disk{}
	k.save(d)
	d = NewDirectory(d.Table())
	d.Restore(k.each, after(50))
	check()

	// The list was edited while the box was off: nobody knows when.
	d = NewDirectory(at("10.0.0.1"))
	d.Restore(k.each, after(50))
	if got := d.had("10.0.0.1", 45); got != "A csv ?.." {
		t.Error(got)
	}
	if got := d.had("10.0.0.1", 25); got != "B csv 20..30" {
		t.Error(got)
	}
}

// Two leases whose lines are others by a new list are still in the order in which they were given.
func TestTheNewerOfTwoLeasesStaysFirst(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for i, circuit := range []string{"acct-1", "acct-2"} {
		d.Replace(Lease, fmt.Sprintf("/%d", i), []Binding{{Prefix: pfx("100.64.9.1/32"), Circuits: []string{circuit}}}, after(i))
	}
	d.SetTable(parse(t, strings.NewReplacer("acct-1", "acct-2", "acct-2", "acct-1").Replace(lines)), after(10))
	h, _ := d.Lookup(addr("100.64.9.1"))
	if got := d.had("100.64.9.1", 20); h.ID != "S-1" || got != "S-1 lease 10.., S-2 lease 10.." {
		t.Errorf("%s now, %s", h.ID, got)
	}
	d.Replace(Lease, "/1", nil, after(30))
	if got := d.had("100.64.9.1", 20); got != "S-1 lease 10..30, S-2 lease 10.." {
		t.Error(got)
	}
}

func TestAListThatChangesNearlyEverything(t *testing.T) {
	t.Parallel()
	many := func(id string) *Table {
		var b strings.Builder
		b.WriteString("subscriber,plan,prefixes\nSame,home,192.0.2.1\n" + id + ",home,\n")
		for i := range MaxTold + 1 {
			fmt.Fprintf(&b, "%s%d,home,10.0.%d.%d\n", id, i, i>>8, i&255)
		}
		return parse(t, b.String())
	}
	d := NewDirectory(many("A"))
	d.Bind(Binding{Prefix: pfx("10.0.0.1/32"), Source: API, Subscriber: "A7"}, after(5), after(5))
	if got := d.SetTable(many("B"), after(10)); got != nil || d.Stats().History != 1 {
		t.Errorf("%d changes are told, %d kept", len(got), d.Stats().History)
	}
	k := disk{}
	k.save(d)
	for range 2 {
		for _, c := range []struct {
			addr string
			at   int
			want string
		}{
			{"10.0.0.2", 5, ""}, {"10.0.0.2", 10, "B2 csv 10.."}, {"192.0.2.1", 20, "Same csv 10.."}, {"10.0.0.1", 7, "A7 api 5..10"}, {"10.0.0.1", 10, "B1 csv 10.."},
		} {
			if got := d.had(c.addr, c.at); got != c.want {
				t.Errorf("%s at %d: %q, want %q", c.addr, c.at, got, c.want)
			}
		}
		d = NewDirectory(d.Table())
		d.Restore(k.each, after(20))
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	k := disk{}
	end := func(i int) {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 65, byte(i >> 8), byte(i)}), 32)
		d.keep(ended{prefix: p, source: RADIUS, session: "nas|1", id: "S-1", from: stamp(after(10 * i)), until: stamp(after(10*i + 1)), said: i%2 == 0})
	}
	for i := range MaxHistory {
		end(i)
	}
	clear(d.dirty) // as if all but the last hundred had been saved
	for i := range 100 {
		k[historyKey(uint64(i+1))] = nil
		end(MaxHistory + i)
	}
	k.save(d)
	if s := d.Stats(); s.History != MaxHistory || s.Lost != 100 || len(k) != 201 { // a hundred are not known but for repetitions
		t.Errorf("%+v, %d on disk", s, len(k))
	}
	if d.had("100.65.0.0", 0) != "" || d.had("100.65.0.100", 1000) != "S-1 radius 1000..1001" {
		t.Error("not the oldest made room")
	}
	d = directory(t, lines)
	if skipped, err := d.Restore(k.each, t0); skipped != 0 || err != nil || d.Stats().History != 100 {
		t.Error(skipped, err, d.Stats())
	}
}

func TestFreeCellsAreBounded(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	for i := range 5000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 65, byte(i >> 8), byte(i)}), 32)
		d.Bind(radius(p.String(), "nas|1", "acct-1"), after(10*i), after(10*i))
		if h, _ := d.Lookup(p.Addr()); h.ID != "S-1" {
			t.Fatalf("%s is not found", p)
		}
		d.End(RADIUS, "nas|1", after(10*i+1), after(10*i+1))
	}
	if len(d.free) > minFree+1 || d.cells.Size() > minFree+1 || d.view.Load().cells != d.cells {
		t.Errorf("%d free cells of %d", len(d.free), d.cells.Size())
	}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	const day = 24 * 3600
	d := directory(t, lines)
	for i := range 3 {
		b := radius("100.64.9.1/32", fmt.Sprintf("nas|%d", i), "acct-1")
		d.Bind(b, after(i*day), after(i*day))
		d.End(RADIUS, b.Session, after(i*day+100), after(i*day+100))
	}
	for _, c := range []struct {
		why  string
		at   int
		kept int
	}{
		{"the first look", 3 * day, 3},
		{"1970", -20000 * day, 3},
		{"right again, which looks like a jump", 3 * day, 3},
		{"ten years ahead", 3653 * day, 3},
		{"still there, for less than a day", 3653*day + day - 1, 3},
		{"right again", 4 * day, 3},
		{"half a year of looks later", 100 * day, 3},
		{"", 100*day + day, 3}, {"", 107 * day, 3}, {"", 113 * day, 3}, {"", 119 * day, 3}, {"", 125 * day, 3}, {"", 131 * day, 3},
		{"", 137 * day, 3}, {"", 143 * day, 3}, {"", 149 * day, 3}, {"", 155 * day, 3}, {"", 161 * day, 3}, {"", 167 * day, 3},
		{"", 173 * day, 3}, {"", 179 * day, 3}, {"just not too old", 180*day + 100, 3}, {"too old", 180*day + 101, 2},
		{"an hour ahead", 180*day + 3700, 2}, {"an hour back", 180*day + 101, 2}, {"the second one", 181*day + 101, 1},
		{"off for a month", 211 * day, 1}, {"a day later", 212 * day, 0},
	} {
		d.Expire(after(c.at))
		if got := d.Stats().History; got != c.kept {
			t.Errorf("%s, at day %d: %d are kept, want %d", c.why, c.at/day, got, c.kept)
		}
	}
	if got := d.had("100.64.9.1", 50); got != "" {
		t.Error(got)
	}
	k := disk{}
	k.save(d)
	if len(k) != 1 {
		t.Errorf("%d things on disk", len(k))
	}
}

// A box that was off does not take its first look at the clock for the truth.
func TestExpireAfterARestart(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), t0, t0)
	d.Expire(after(9))
	d.End(RADIUS, "nas|1", after(10), after(10))
	k := disk{}
	k.save(d)
	d = directory(t, lines)
	d.Restore(k.each, t0.AddDate(10, 0, 0))
	d.Expire(t0.AddDate(10, 0, 0))
	if d.Stats().History != 1 {
		t.Error("a clock that jumped wiped the history out")
	}
	d.Expire(t0.AddDate(10, 0, 2))
	if d.Stats().History != 0 {
		t.Error("it stays for ever")
	}
}

func TestWhatCannotBeSavedIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	k := disk{}
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1", "olt1"), t0, t0)
	d.SetPlan("S-1", "special")
	lost := d.Pending(100)
	if len(lost) != 2 || len(d.Pending(100)) != 0 {
		t.Fatalf("%d to be saved", len(lost))
	}
	d.End(RADIUS, "nas|1", after(10), after(10))
	d.Redo(lost)
	k.save(d)
	if len(k) != 3 { // plan, history, state
		t.Errorf("%q", slices.Sorted(maps.Keys(k)))
	}
	d.Bind(radius("100.64.9.1/32", "nas|2", "acct-2"), after(20), after(20))
	d.Bind(radius("100.64.9.1/32", "nas|2", "acct-2"), after(30), after(30))
	k.save(d)
	d.Bind(radius("100.64.9.1/32", "nas|2", "acct-2"), after(40), after(40))
	if n := len(d.Pending(100)); n != 0 {
		t.Errorf("a confirmation is saved: %d", n)
	}
	d.SetPlan("S-1", "")
	k.save(d)

	// A line of the list got another circuit while the box was off.
	d = directory(t, strings.NewReplacer("acct-2", "acct-9", "acct-3", "acct-2").Replace(lines))
	d.Restore(k.each, after(100))
	if got := d.had("100.64.9.1", 50); got != "S-2 radius 20..100" {
		t.Error(got)
	}
	if got := d.had("100.64.9.1", 100); got != "S-3 radius 100.." {
		t.Error(got)
	}
	if got := d.had("100.64.9.1", 5); got != "S-1 radius 0..10" {
		t.Error(got)
	}
	k.save(d)
	d = NewDirectory(d.Table())
	d.Restore(k.each, after(200))
	if d.had("100.64.9.1", 150) != "S-3 radius 100.." || len(d.Pending(10)) != 0 || len(d.Plans()) != 0 {
		t.Errorf("%s, %v", d.had("100.64.9.1", 150), d.Plans())
	}
	if _, err := d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1"), t0, after(300)); err == nil {
		t.Error("a repeated word counts after a restart")
	}
}

func TestAFullDirectoryRefuses(t *testing.T) {
	t.Parallel()
	d := directory(t, lines)
	one := radius("100.64.9.1/32", "nas|1", "acct-1")
	d.Bind(one, t0, t0)
	d.bindings = MaxBindings
	if _, err := d.Bind(radius("100.64.9.2/32", "nas|2", "acct-1"), after(1), after(1)); err != ErrFull || d.Stats().Full != 1 {
		t.Error(err)
	}
	if _, err := d.Bind(radius("100.64.9.1/32", "nas|2", "acct-2"), after(2), after(2)); err != nil {
		t.Error(err)
	}
}

// Whatever is on disk, a directory starts.
func FuzzRestore(f *testing.F) {
	d := NewDirectory(nil)
	tab, err := Parse("x", strings.NewReader(lines), nil)
	if err != nil {
		f.Fatal(err)
	}
	d.SetTable(tab, t0)
	d.Bind(radius("100.64.9.1/32", "nas|1", "acct-1", "olt1"), t0, t0)
	d.Bind(radius("2001:db8:7::/56", "nas|1", "new"), t0, t0)
	d.Bind(radius("100.64.9.1/32", "nas|2", "acct-2"), after(10), after(10))
	d.Replace(Lease, "/leases", []Binding{{Prefix: pfx("100.64.9.1/32"), Circuits: []string{"acct-3"}}}, after(20))
	d.Bind(Binding{Prefix: pfx("100.64.9.1/32"), Source: API, Subscriber: "S-3"}, after(20), after(20))
	d.SetPlan("S-1", "special")
	for _, s := range d.Pending(100) {
		f.Add(s.Key, s.Value, s.Key, []byte{1})
	}
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 []byte) {
		d := NewDirectory(tab)
		skipped, err := d.Restore(disk{string(k1): v1, string(k2): v2}.each, after(30))
		if err != nil {
			t.Fatal(err)
		}
		now := after(40)
		d.Bind(radius("100.64.9.1/32", "nas|9", "acct-1"), now, now)
		d.At(addr("100.64.9.1"), now, now)
		d.At(addr("2001:db8:7::1"), now, now)
		d.Of("S-1")
		d.SetTable(&Table{}, after(50))
		d.EndAll(RADIUS, "", after(60), after(60))
		d.Expire(after(70))
		k := disk{}
		k.save(d)
		again := NewDirectory(nil)
		if more, err := again.Restore(k.each, after(80)); more != 0 || err != nil {
			t.Fatalf("%d skipped of what was saved (%d of what was there), %v", more, skipped, err)
		}
	})
}
