package subscriber

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
)

// bygone is what is left for a day of a binding by RADIUS that made room in the history: enough to know again what its
// session once said.
type bygone struct {
	n           uint64 // its number in the history
	what        uint64 // of session, line and prefix, a hash
	told, until int64  // as in ended
	said        bool
}

// MaxBygone is how many of these are kept, each in some 80 bytes; the one that ended first makes room.
const MaxBygone = 2 << 20

// bygones are in the order in which they ended.
type bygones struct {
	list   []bygone
	newest map[uint64]uint64 // by what, the number
	lost   uint64            // that made room before their day was over
}

// whatOf is a hash of 64 bits that nobody can make equal to another's on purpose.
func whatOf(session, id string, p netip.Prefix) uint64 {
	b := appendString(appendString(appendPrefix(make([]byte, 0, 128), p), session), id)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// add puts b at the end.
func (g *bygones) add(b bygone) {
	if g.newest == nil {
		g.newest = map[uint64]uint64{}
	}
	if n, ok := g.newest[b.what]; ok { // the same session had the same twice
		if old := g.at(n); old != nil {
			b.told, b.said = max(b.told, old.told), b.said || old.said
		}
	}
	g.list = append(g.list, b)
	g.newest[b.what] = b.n
}

// at is the one of number n; nil if it is not there.
func (g *bygones) at(n uint64) *bygone {
	i, ok := slices.BinarySearchFunc(g.list, n, func(b bygone, n uint64) int { return cmp.Compare(b.n, n) })
	if !ok {
		return nil
	}
	return &g.list[i]
}

// drop forgets the one that ended first, and gives its number.
func (g *bygones) drop() uint64 {
	b := g.list[0]
	if g.newest[b.what] == b.n {
		delete(g.newest, b.what)
	}
	g.list = g.list[1:]
	return b.n
}

// repeats is history.repeats for what is not in the history any more.
func (g *bygones) repeats(b *Binding, id string, told, now int64) bool {
	n, ok := g.newest[whatOf(b.Session, id, b.Prefix)]
	if !ok {
		return false
	}
	old := g.at(n)
	return old != nil && old.until >= now-int64(repeatFor) && (told <= old.told || old.said && !b.Dated)
}

// outlive keeps of e, number n of the history, what is to be remembered for a day.
func (d *Directory) outlive(n uint64, e *ended) {
	if e.source != RADIUS || e.until < d.readings.top-int64(repeatFor) {
		return
	}
	g := &d.history.gone
	g.add(bygone{n: n, what: whatOf(e.session, e.id, e.prefix), told: e.told, until: e.until, said: e.said})
	if len(g.list) > MaxBygone {
		d.forgetBygone()
		g.lost++
	}
}

func (d *Directory) forgetBygone() { d.dirty[historyKey(d.history.gone.drop())] = struct{}{} }

// bygoneVersion is the version of a value of the history that is a bygone; saveVersion is an ended binding.
const bygoneVersion = 2

func (b *bygone) encode() []byte {
	said := byte(0)
	if b.said {
		said = 1
	}
	v := binary.BigEndian.AppendUint64([]byte{bygoneVersion, said}, b.what)
	return binary.AppendVarint(binary.AppendVarint(v, b.told), b.until)
}

// takeBygone takes in one that was saved under number n. They come before all that is in the history.
func (h *history) takeBygone(n uint64, value []byte) bool {
	r := reader{b: value[1:]}
	b := bygone{n: n, said: r.byte() == 1}
	if len(r.b) < 8 {
		return false
	}
	b.what, r.b = binary.BigEndian.Uint64(r.b), r.b[8:]
	b.told, b.until = r.int(), r.int()
	if r.err != nil || h.len() > 0 || n < max(h.next, 1) || n > 1<<62 || len(h.gone.list) == MaxBygone {
		return false
	}
	h.gone.add(b)
	h.next, h.oldest = n+1, n+1
	return true
}
