package subscriber

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Saved is something of a directory as it goes to disk: a key and its value, nil to delete the key. Keys of one kind
// sort by what they are about; values carry a version.
type Saved struct {
	Key, Value []byte
}

// The first byte of a key is its kind.
const (
	bindingKind = 'b' // source, prefix, and for a lease the file
	historyKind = 'h' // number, big-endian
	planKind    = 'p' // subscriber
	stateKind   = 's' // what belongs to the whole
)

const saveVersion = 1

// saveSeen is how much later than what is saved a binding may be confirmed without being saved again. It costs a record
// for each binding twice a day.
const saveSeen = 12 * time.Hour

func (c *claim) key() string {
	b := appendPrefix([]byte{bindingKind, byte(c.source)}, c.prefix)
	if c.source == Lease {
		b = append(b, c.session.key.name...)
	}
	return string(b)
}

func historyKey(n uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{historyKind}, n))
}
func planKey(id string) string { return string(planKind) + id }
func stateKey() string         { return string(stateKind) }

// Pending gives up to max changes since the last call, in no particular order; fewer than max: that was all. Whoever
// cannot save them gives them to Redo. What only confirms a binding is no change, but each half day.
func (d *Directory) Pending(max int) []Saved {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Saved
	for key := range d.dirty {
		if len(list) >= max {
			break
		}
		delete(d.dirty, key)
		list = append(list, Saved{[]byte(key), d.value(key)})
	}
	return list
}

// Redo takes back what Pending gave and could not be saved.
func (d *Directory) Redo(list []Saved) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range list {
		d.dirty[string(s.Key)] = struct{}{}
	}
}

// value is what key stands for now; nil for nothing.
func (d *Directory) value(key string) []byte {
	switch key[0] {
	case bindingKind:
		p, rest, ok := cutPrefix([]byte(key[2:]))
		if !ok {
			return nil
		}
		if c := d.claimOf(Source(key[1]), p, string(rest)); c != nil {
			c.saved = c.seen
			return c.encode()
		}
	case historyKind:
		if n := binary.BigEndian.Uint64([]byte(key[1:])); n >= d.history.oldest && n < d.history.next {
			return d.history.at(n).encode()
		} else if b := d.history.gone.at(n); b != nil {
			return b.encode()
		}
	case planKind:
		if plan, ok := d.view.Load().plans[key[1:]]; ok {
			return appendString([]byte{saveVersion}, plan)
		}
	case stateKind:
		b := binary.AppendVarint([]byte{saveVersion}, d.history.listSince)
		return binary.AppendVarint(b, d.clock.last)
	}
	return nil
}

// Restore takes in what was saved before, and resolves bindings by the list that is in force: see Recall and Begin.
func (d *Directory) Restore(each func(take func(key, value []byte) error) error, now time.Time) (skipped int, err error) {
	skipped, err = d.Recall(each, now)
	d.Begin(d.Table(), now)
	d.Follow()
	return skipped, err
}

// Recall takes in what was saved before, in the order of its keys; each calls its argument for every one. Call it
// once, before anything is bound. It needs no list, so that one can be read beside it; nobody is found by a binding
// before Begin. What cannot be read is left out and counted; an error is only one of each.
func (d *Directory) Recall(each func(take func(key, value []byte) error) error, now time.Time) (skipped int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := recall{d: d, plans: map[string]string{}}
	err = each(func(key, value []byte) error {
		if !r.take(key, value) {
			skipped++
		}
		return nil
	})
	skipped += r.settle()
	d.restored(now)
	d.heardUntil(min(d.clock.last, stamp(now)))
	if len(r.plans) > 0 {
		next := *d.view.Load()
		next.plans = r.plans
		d.view.Store(&next)
	}
	if err != nil {
		return skipped, fmt.Errorf("restore bindings: %w", err)
	}
	return skipped, nil
}

// recall is what was saved, as it is read.
type recall struct {
	d     *Directory
	plans map[string]string
	all   []savedClaim
}

// savedClaim is a binding that was saved, with the name of its session.
type savedClaim struct {
	*claim
	session string
}

var errShort = errors.New("cut off")

func (all *recall) take(key, value []byte) bool {
	d := all.d
	if len(key) == 0 || len(value) == 0 {
		return false
	}
	if len(key) == 9 && key[0] == historyKind && value[0] == bygoneVersion {
		return d.history.takeBygone(binary.BigEndian.Uint64(key[1:]), value)
	}
	if value[0] != saveVersion {
		return false
	}
	r := reader{b: value[1:]}
	switch key[0] {
	case bindingKind:
		if len(key) < 2 {
			return false
		}
		p, _, ok := cutPrefix(key[2:])
		b := Binding{Prefix: p, Source: Source(key[1]), Session: r.string()}
		id, name := r.string(), r.string()
		b.Circuits = r.strings()
		from, bound, seen, told := r.int(), r.int(), r.int(), r.int()
		if b.Source == API {
			b.Subscriber = name
		} else {
			b.User = name
		}
		if !ok || r.err != nil || !b.bindable() || len(all.all) >= MaxBindings {
			return false
		}
		c := &claim{prefix: p, source: b.Source, name: name, circuits: b.Circuits, id: id, row: -1, bound: bound, seen: seen, told: told, saved: seen}
		c.from, c.vague = signed(from)
		all.all = append(all.all, savedClaim{c, b.Session})
	case historyKind:
		if len(key) != 9 {
			return false
		}
		n := binary.BigEndian.Uint64(key[1:])
		e, ok := decodeEnded(&r)
		if !ok || n < max(d.history.next, 1) || n > 1<<62 {
			return false
		}
		for d.history.len() > 0 && n-d.history.oldest >= MaxHistory {
			d.forget()
		}
		d.put(n, e)
	case planKind:
		plan := r.string()
		if r.err != nil || plan == "" || len(key) == 1 || len(all.plans) >= MaxPlans {
			return false
		}
		all.plans[string(key[1:])] = plan
	case stateKind:
		since, last := r.int(), r.int()
		if r.err != nil {
			return false
		}
		d.history.listSince, d.clock.last = since, last
	default:
		return false
	}
	return r.err == nil
}

// settle makes claims of what was read, and gives how many cannot be: there is one already in its place. It is not
// known by any list whose they are; that is found by Begin.
func (all *recall) settle() (skipped int) {
	d := all.d
	// Maps that have their size from the beginning take half the time.
	d.claims, d.sessions = make(map[netip.Prefix]*claim, len(all.all)), make(map[sessionKey]*session, len(all.all))
	one := make([]*claim, len(all.all))
	for i, r := range all.all {
		if first := d.claims[r.prefix]; first != nil {
			if d.claimOf(r.source, r.prefix, r.session) != nil {
				skipped++
				continue
			}
			d.recalled.shared = append(d.recalled.shared, r.prefix)
		}
		d.hold(r.claim, r.session)
		one[i] = r.claim
	}
	d.recalled.claims = slices.DeleteFunc(one, func(c *claim) bool { return c == nil })
	return skipped
}

// sign makes a beginning that is vague negative, as it is saved.
func sign(from int64, vague bool) int64 {
	if vague {
		return -from
	}
	return from
}

func signed(saved int64) (from int64, vague bool) {
	if saved < 0 {
		return max(0, -saved), true
	}
	return saved, false
}

func (c *claim) encode() []byte {
	b := appendString([]byte{saveVersion}, c.session.key.name)
	b = appendString(b, c.id)
	b = appendString(b, c.name)
	b = appendStrings(b, c.circuits)
	for _, n := range []int64{sign(c.from, c.vague), c.bound, c.seen, c.told} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func (e *ended) encode() []byte {
	b := appendPrefix([]byte{saveVersion, byte(e.source)}, e.prefix)
	said := byte(0)
	if e.said {
		said = 1
	}
	b = append(b, said)
	for _, s := range []string{e.id, e.heir, e.session, e.name} {
		b = appendString(b, s)
	}
	b = appendStrings(b, e.circuits)
	for _, n := range []int64{sign(e.from, e.vague), e.bound, e.until, e.told} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func decodeEnded(r *reader) (ended, bool) {
	var e ended
	e.source = Source(r.byte())
	e.prefix = r.prefix()
	e.said = r.byte() == 1
	e.id, e.heir, e.session, e.name = r.string(), r.string(), r.string(), r.string()
	e.circuits = r.strings()
	e.from, e.vague = signed(r.int())
	e.bound, e.until, e.told = r.int(), r.int(), r.int()
	return e, r.err == nil && e.source > None && e.source < sources && e.prefix.IsValid()
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	b = append(b, byte(p.Addr().BitLen()/8), byte(p.Bits()))
	return append(b, p.Addr().AsSlice()...)
}

// cutPrefix reads what appendPrefix wrote.
func cutPrefix(b []byte) (p netip.Prefix, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != 4 && b[0] != 16 || len(b) < 2+int(b[0]) || int(b[1]) > int(b[0])*8 {
		return netip.Prefix{}, nil, false
	}
	addr, _ := netip.AddrFromSlice(b[2 : 2+b[0]])
	p = netip.PrefixFrom(addr, int(b[1]))
	return p, b[2+b[0]:], p == p.Masked() && !addr.Is4In6()
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// reader takes values from b until something is wrong; from then on it gives zero values.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	r.b, r.err = nil, errShort
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) length(most uint64) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) string() string {
	n := r.length(uint64(len(r.b)))
	if n > len(r.b) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) strings() []string {
	n := r.length(maxCircuits)
	var list []string
	for range n {
		list = append(list, r.string())
	}
	return list
}

func (r *reader) prefix() netip.Prefix {
	p, rest, ok := cutPrefix(r.b)
	if !ok {
		r.fail()
		return netip.Prefix{}
	}
	r.b = rest
	return p
}
