package subscriber

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
)

// Directory answers whose an address is, now and in the past, from all sources together: the list and what RADIUS,
// DHCP and the API say about it. The longest prefix decides; of equal ones API, then RADIUS, then a lease, then the
// list; within one source the newest.
//
// It is safe for concurrent use. Lookup, Alone, ByID, PlanOf and Table take no lock and wait for nobody: they read a
// view that is replaced as a whole. Everything else takes turns.
//
// Who has an address decides whose budgets are charged: they are kept by subscriber, so budgets, stage and case follow
// a line to its next address, and whoever gets the old one starts with his own.
//
// A binding whose line nobody has (an unknown hardware address, for example, which a customer can choose) is kept but
// decides nothing, until a new list has the line. One exception: a user that RADIUS names is somebody, list or not;
// the line is called "radius:" and the User-Name. Such a made-up line ranks below everybody who is known, whatever the
// lengths of their prefixes: it never takes an address away that the list, or a binding of a line of the list, gives to
// somebody. A newer session on the very prefix of an older one of RADIUS ends that, whoever the two are.
type Directory struct {
	view atomic.Pointer[view]

	tables sync.Mutex // one SetTable at a time
	mu     sync.Mutex // everything below, and replacing view

	cells     *bart.Table[*cell] // what the next view will have
	coming    *coming            // a list that is being prepared, see renew.go
	renewal   *renewal           // a list in force that not all claims have followed to
	era       uint8              // of the list in force, for claims: 1 or 2
	retention time.Duration      // of ended bindings
	recalled  recalled           // for Begin
	inPlace   bool               // cells belongs to nobody else yet and may be written to
	free      []netip.Prefix     // cells that became free, in that order; some may be taken again
	claims    map[netip.Prefix]*claim
	lens      lengths // of the prefixes in claims
	sessions  map[sessionKey]*session
	lines     map[string]*claim // the youngest of each line
	bindings  int               // claims in all
	bySource  [sources]int      // of them
	unknown   int               // of them, those whose line nobody has
	made      madeUp            // lines that only RADIUS knows
	history   history
	lost      map[sessionKey][]uint64 // numbers in the history: what sessions lost to newer ones, and have not ended yet
	dirty     map[string]struct{}     // keys to be saved or deleted
	clock     wallClock
	readings  readings
	stats     Stats
}

// view is what a lookup needs. A new list has a new one with new cells, so that a row is always one of its own table.
type view struct {
	table *Table
	cells *bart.Table[*cell]
	plans map[string]string // the operator's choice by subscriber
}

// cell is a prefix that has been bound. The same addresses are given out again and again, so a cell stays for a while
// when nobody has it: to write into it is cheaper than to copy a path of the table, which costs some 25 KB.
type cell struct {
	prefix netip.Prefix
	now    atomic.Pointer[held] // nil: nobody
}

// held is who has a prefix by a binding that decides. It never changes.
type held struct {
	id     string
	row    int32 // in the view's table, -1: made up
	source Source
}

func (h *held) madeUp() bool { return h.row < 0 }

// claim is one binding that has not ended. Of several on a prefix only the best decides.
type claim struct {
	prefix   netip.Prefix
	source   Source
	session  *session
	at       int    // in session.claims
	name     string // of whoever has it, in the source's words: RADIUS User-Name, for API the subscriber's id
	circuits []string
	id       string // "": nobody's line
	row      int32  // -1: nobody's, or made up
	vague    bool   // from is the latest that it can be
	era      uint8  // of the list by which id and row are; 0: it was saved so, and is not linked to others of its line
	overrule string // of a made-up line: the known one that had its prefix when it was last looked at
	next     *claim // on the same prefix, not better

	// Unix nanoseconds: since when it is that line's, since when its source says anything of the kind, the last word on it,
	// and that word's time as its sender had it, whose clock may be ahead of ours.
	from, bound, seen, told int64
	saved                   int64 // seen as it was last saved

	elder, younger *claim // of the same line
}

type sessionKey struct {
	source Source
	name   string
}

type session struct {
	key    sessionKey
	claims []*claim
}

// lengths counts prefixes by family and length, so that a search for what covers an address asks only for lengths that
// exist.
type lengths [2][129]int32

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

func (l *lengths) add(p netip.Prefix, n int32) { l[family(p)][p.Bits()] += n }

// covering calls f for every prefix of a length that exists and that contains addr, the longest first.
func (l *lengths) covering(addr netip.Addr, f func(netip.Prefix)) {
	of := &l[1]
	if addr.Is4() {
		of = &l[0]
	}
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if of[bits] > 0 {
			if p, err := addr.Prefix(bits); err == nil {
				f(p)
			}
		}
	}
}

// Stats is what a directory counts. The first six are how many there are now, the others since the start.
type Stats struct {
	Bindings int          // of RADIUS, leases and API
	BySource [sources]int // of them, those of each
	Unknown  int          // of them, whose line nobody has
	MadeUp   int          // lines that RADIUS names and the list does not have
	History  int          // ended bindings that are kept
	Gone     int          // ended sessions of RADIUS that are known beyond these, for a day
	Plans    int          // plans of the operator's

	Stale, Ended, Full, Invalid uint64 // bindings refused, see the errors of Bind
	Lost                        uint64 // ended bindings that made room before their time: At does not know them
	Forgot                      uint64 // ended sessions that made room before their day was over: they can be played back
	Silent                      uint64 // bindings ended because RADIUS had been silent about them for long

	Since time.Time // all that ended later is in the history; zero: there is room in it
}

// NewDirectory knows what t knows; nil is an empty list.
func NewDirectory(t *Table) *Directory {
	if t == nil {
		t = &Table{}
	}
	d := &Directory{cells: &bart.Table[*cell]{}, claims: map[netip.Prefix]*claim{}, sessions: map[sessionKey]*session{}, lines: map[string]*claim{}, lost: map[sessionKey][]uint64{},
		dirty: map[string]struct{}{}, era: 1, retention: Retention}
	d.view.Store(&view{table: t, cells: d.cells})
	return d
}

// Lookup finds who has addr now. An IPv4 address mapped into IPv6 counts as IPv4; a zone is ignored.
func (d *Directory) Lookup(addr netip.Addr) (Holder, bool) {
	v := d.view.Load()
	f := v.lookup(addr.Unmap())
	return v.holder(f), f.id != ""
}

// found is who has an address and by which prefix; the id is "" for nobody.
type found struct {
	held
	prefix netip.Prefix
}

func (v *view) lookup(addr netip.Addr) found {
	prefix, row, ok := v.table.cover(addr)
	c, bound := v.cells.Lookup(addr)
	return v.better(c, bound, prefix, row, ok)
}

// around finds who has the whole of p; of an address in p somebody else may have more.
func (v *view) around(p netip.Prefix) found {
	prefix, row, ok := v.table.coverPrefix(p)
	c, bound := v.cells.LookupPrefix(p)
	return v.better(c, bound, prefix, row, ok)
}

// better is whoever decides: c, if that is bound to a known line, or what is around it, or the list's; if there is none
// of these, the made-up line with the longest prefix.
func (v *view) better(c *cell, bound bool, prefix netip.Prefix, row int32, listed bool) (stranger found) {
	for bound && (!listed || c.prefix.Bits() >= prefix.Bits()) {
		switch h := c.now.Load(); {
		case h != nil && !h.madeUp():
			return found{*h, c.prefix}
		case h != nil && stranger.id == "":
			stranger = found{*h, c.prefix}
		}
		around, err := c.prefix.Addr().Prefix(c.prefix.Bits() - 1)
		if err != nil {
			break
		}
		c, bound = v.cells.LookupPrefix(around)
	}
	if listed {
		return found{held{id: v.table.ID(row), row: row, source: CSV}, prefix}
	}
	return stranger
}

func (v *view) holder(f found) Holder {
	if f.id == "" {
		return Holder{}
	}
	h := Holder{ID: f.id, Source: f.source, Prefix: f.prefix}
	if f.row >= 0 {
		h.Plan, h.Name = v.table.plan(f.row), v.table.Name(f.row)
	}
	if len(v.plans) > 0 {
		if plan, ok := v.plans[f.id]; ok {
			h.Plan = plan
		}
	}
	return h
}

// Alone tells whether whoever has addr has the whole of its /64, so that acting on the /64 hits nobody else: see
// Table.Alone.
func (d *Directory) Alone(addr netip.Addr) bool {
	if addr = addr.Unmap(); !addr.Is6() {
		return true
	}
	net64, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return false
	}
	v := d.view.Load()
	own := v.lookup(addr)
	if v.around(net64).id != own.id {
		return false
	}
	known := own.id != "" && !own.madeUp() // then whoever is made up has nothing here
	for _, c := range v.cells.Subnets(net64) {
		if h := c.now.Load(); h != nil && h.id != own.id && !(known && h.madeUp()) {
			return false
		}
	}
	for p, row := range v.table.inside(net64) {
		c, bound := v.cells.Get(p)
		if bound {
			h := c.now.Load()
			bound = h != nil && !h.madeUp()
		}
		if !bound && v.table.ID(row) != own.id {
			return false
		}
	}
	return true
}

// Table is the list in force.
func (d *Directory) Table() *Table { return d.view.Load().table }

// ByID finds a subscriber of the list by its name, with the plan that is in force for it.
func (d *Directory) ByID(id string) (Subscriber, bool) {
	v := d.view.Load()
	s, ok := v.table.ByID(id)
	if plan, mine := v.plans[id]; ok && mine {
		s.Plan = plan
	}
	return s, ok
}

// PlanOf is the plan in force for a subscriber: the operator's choice, else the list's; "" when neither says anything.
func (d *Directory) PlanOf(id string) string {
	v := d.view.Load()
	if plan, ok := v.plans[id]; ok {
		return plan
	}
	if row, ok := v.table.Row(id); ok {
		return v.table.plan(row)
	}
	return ""
}

// SetPlan gives a subscriber a plan of the operator's, whatever the list says; "" goes back to the list's. The
// subscriber is in the list, or Unlisted; everybody else is ErrUnknownLine, and one beyond MaxPlans is ErrFull. Whether
// there is such a plan is the caller's to know.
func (d *Directory) SetPlan(id, plan string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.view.Load()
	_, had := v.plans[id]
	if _, listed := v.table.Row(id); plan != "" && (!listed && !Unlisted(id) || len(id) > maxWord || len(plan) > maxWord) {
		return ErrUnknownLine
	}
	switch {
	case plan == "" && !had:
		return nil
	case plan != "" && !had && len(v.plans) >= MaxPlans:
		return ErrFull
	}
	next := *v
	next.plans = maps.Clone(v.plans)
	if plan == "" {
		delete(next.plans, id)
	} else {
		if next.plans == nil {
			next.plans = map[string]string{}
		}
		next.plans[id] = plan
	}
	d.view.Store(&next)
	d.dirty[planKey(id)] = struct{}{}
	return nil
}

// Chosen is the plan that the operator chose for a subscriber, or "".
func (d *Directory) Chosen(id string) string { return d.view.Load().plans[id] }

// Plans are the operator's choices by subscriber. The map is the caller's.
func (d *Directory) Plans() map[string]string {
	return maps.Clone(d.view.Load().plans)
}

// Stats tells what is held and what was refused.
func (d *Directory) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.BySource = d.bySource
	s.Bindings, s.Unknown, s.MadeUp, s.History, s.Plans = d.bindings, d.unknown, d.made.lines, d.history.len(), len(d.view.Load().plans)
	s.Gone, s.Forgot = len(d.history.gone.list), d.history.gone.lost
	if s.History == MaxHistory {
		s.Since = wall(d.history.at(d.history.oldest).until)
	}
	return s
}

// publish makes what was done since the last time visible to lookups.
func (d *Directory) publish() {
	v := d.view.Load()
	if v.cells != d.cells {
		next := *v
		next.cells = d.cells
		d.view.Store(&next)
	}
	d.inPlace = false
}

func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func wall(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}
