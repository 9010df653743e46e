package webadmin

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Source is where every number on a page and in the API comes from; package appliance implements it.
//
// All methods may be called from many goroutines at once and return copies that the web admin may keep. Those that only read must not
// block on disk or network, but for Records and History: they are called about once a second for each open page. [Operator] and [Binder] may wait for a save.
type Source interface {
	Reader
	Operator
	Binder
	Keeper
	Notifier
	Packer
	Trier
	Identifier
	Configurer
	Lister
	Backer
	Host
	Networker
	Updater
}

// Reader is the part of [Source] that only tells: what viewers see of it, [veil] makes.
type Reader interface {
	// Status is the box as a whole, now.
	Status() Status
	// Traffic is the last hour, oldest step first; at most 60 points are drawn.
	Traffic() Traffic
	// Subscribers lists whoever matches q, in the order that it asks for. next is the cursor of the
	// following page, empty on the last one: it names the last item's place in that order, so that the page after it begins
	// behind that place and the whole list costs one pass. Who moves meanwhile may come twice or not at all. Decisions may be
	// left out.
	Subscribers(q Query) (items []Subscriber, next string)
	// Subscriber is one line with its decisions, newest first.
	Subscriber(id string) (Subscriber, bool)
	// History is what a line did lately, in steps of one of the lengths of [HistoryReach]; false when there is no such line. It
	// may read the disk, for a tenth of a second or so, and the next call reads on. The error is that of ctx, which ends it.
	History(ctx context.Context, id string, step time.Duration) (h History, ok bool, err error)
	// Case is what happened under a case number, open or ended, as long as the box remembers it.
	Case(id string) (Case, bool)
	// Records lists records, newest first. It may read the disk, some megabytes at most, and waits no longer than some seconds for it.
	// The error is that of ctx, which ends it.
	Records(ctx context.Context, q RecordQuery) (RecordPage, error)
	// Plans are those of the configuration, in its order.
	Plans() []Plan
	// Presets are the ready-made plans that a configuration can name.
	Presets() []Plan
	Addresses
	Observer
	// Bindings lists the bindings that the API made, in the order of their prefixes; of one subscriber only, if it is not empty.
	Bindings(subscriber string, p Page) (items []Binding, next string)
	// Holds lists the cases that are held, the oldest hold first.
	Holds() Holds
}

// Packer makes packs of evidence.
type Packer interface {
	// Evidence is the pack of a case, a zip file of some megabytes at most; false when there is no such case. It reads the disk, and
	// writes an AUDIT record, since somebody takes away what is about a customer.
	Evidence(id, who string) (pack []byte, ok bool, err error)
}

// Notifier sends notices.
type Notifier interface {
	// TestNotices sends a test notice to every target and waits for what each says, in the configuration's order, as long as ctx
	// lasts; it writes an AUDIT record.
	TestNotices(ctx context.Context, who string) []NoticeResult
	// TestSyslog makes a record and waits until every collector has it, or ctx ends; in the configuration's order.
	TestSyslog(ctx context.Context, who string) []SyslogResult
}

// Addresses answers who is behind an address.
type Addresses interface {
	// Lookup says who held addr at a time, best first; the zero at is now. Nobody is an answer.
	Lookup(addr netip.Addr, at time.Time) Lookup
	// Unmapped lists the sources that are nobody's, the one seen last first, with what they did.
	Unmapped(p Page) (items []Unmapped, next string)
}

// Observer tells what the box has learnt from all sessions together. Share may read a file, at most a few hundred kilobytes.
type Observer interface {
	// Clusters are those that go on, the largest first, and then those that ended, the last one first. As with
	// [Source.Subscribers], the cursor names a place in that order.
	Clusters(p Page) (items []Cluster, next string)
	// Cluster is one of them.
	Cluster(id string) (Cluster, bool)
	// Destinations are the most contacted networks of the last 5 minutes, hour or day, a page of them.
	Destinations(window time.Duration, p Page) Destinations
	// OffersGone are the servers that offered STARTTLS and do not any more, the last one first.
	OffersGone(p Page) (items []OfferGone, next string)
	// Share lists the points of a query, oldest first; next is where the following page begins, zero on the last one.
	Share(q ShareQuery) (points []SharePoint, next time.Time, err error)
}

// Operator is what a person may do to a line. Each writes its AUDIT record, with the state before and after; who is the actor as
// the web admin knows it, for example "admin 192.0.2.7" or "local". Errors: [ErrUnknownSubscriber], [Refused], or that it could
// not be saved, and then nothing has changed.
type Operator interface {
	// Release lets a subscriber go by hand.
	Release(id, who string) (Subscriber, error)
	// Unrelease takes that back: the line is as it would be by now without it. [ErrNotReleased] when there is nothing to take back.
	Unrelease(id, who string) (Subscriber, error)
	// Exempt lets a subscriber pass until a time, counted as ever; an exemption that runs is replaced.
	Exempt(id string, until time.Time, reason, who string) (Subscriber, error)
	// Unexempt ends an exemption; [ErrNotExempt] when there is none.
	Unexempt(id, who string) (Subscriber, error)
	// SetPlan puts a subscriber under a plan of the configuration, whatever the list says; the empty plan goes back to the list's.
	SetPlan(id, plan, who string) (Subscriber, error)
}

// Binder keeps who holds a prefix by word of the API, which goes before every other source. Errors are those of [Operator].
type Binder interface {
	// Bind gives a prefix to a subscriber from now on, whoever had it; the same binding again changes nothing.
	Bind(prefix netip.Prefix, subscriber, who string) (Binding, error)
	// Unbind ends a binding that the API made and returns it with its end; [ErrNotBound] when there is none.
	Unbind(prefix netip.Prefix, who string) (Binding, error)
}

// What the methods of [Operator] and [Binder] return for something that is not there.
var (
	ErrUnknownSubscriber = errors.New("unknown subscriber")
	ErrNotExempt         = errors.New("not exempt")
	ErrNotReleased       = errors.New("no release to take back")
	ErrNotBound          = errors.New("not bound by the API")
)

// Refused is the error for a value that cannot be taken: which field, and what it must be, as a person should read it.
type Refused struct{ Field, Message string }

func (r Refused) Error() string { return r.Field + ": " + r.Message }
