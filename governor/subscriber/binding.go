package subscriber

import (
	"errors"
	"net/netip"
	"strings"
	"time"
)

// Source says who told which subscriber has an address. Of two that name the same prefix the greater one is believed.
type Source uint8

// The sources, in rising precedence: a line's own list is the least current, the operator's word through the API is final.
const (
	None   Source = iota
	CSV           // the subscribers file
	Lease         // a lease file of a DHCP server
	RADIUS        // accounting
	API           // the operator or a system of his, through the API
	sources
)

// String is the word that records, API and pages use; "" for None.
func (s Source) String() string {
	switch s {
	case CSV:
		return "csv"
	case Lease:
		return "lease"
	case RADIUS:
		return "radius"
	case API:
		return "api"
	}
	return ""
}

// ParseSource is the inverse of String; None for any other word.
func ParseSource(word string) Source {
	for s := CSV; s < sources; s++ {
		if s.String() == word {
			return s
		}
	}
	return None
}

// Binding says that a prefix is, or was, that of a subscriber.
type Binding struct {
	Prefix netip.Prefix
	// Subscriber is whose it is. Bind takes it from API only; for the others it follows from User and Circuits.
	Subscriber string
	Source     Source
	// Session is who may end it: NAS and Acct-Session-Id, or the path of a lease file; "" for API.
	Session string
	// User is the RADIUS User-Name: a circuit, a subscriber's own id, or else the name of a line that no list has.
	User string
	// Circuits is what the source calls the line, the most trustworthy first: the first that somebody has decides.
	Circuits []string
	// From and Until are by the box's wall clock; zero: not known since when, and still. Bind ignores both.
	From, Until time.Time
	// Dated tells Bind that the time of the event is its sender's own word (RADIUS Event-Timestamp) and not merely when it
	// came: only then can a session that ended be told from a repetition of what it once said.
	Dated bool
}

// Holder is whoever has an address now.
type Holder struct {
	ID     string
	Plan   string // the operator's choice, else the list's; "" for a line that no list has: the plan of unmapped sources
	Name   string
	Source Source
	Prefix netip.Prefix // the prefix by which it was found
}

// Change tells that whoever is found for the addresses of a prefix is another than before.
type Change struct {
	Prefix   netip.Prefix
	From, To string // subscriber ids; "" is nobody. Equal: nothing changed.
	Source   Source // of the binding that came or went
	At       time.Time
}

// What Bind may refuse.
var (
	// ErrStale: it is older than what holds the prefix.
	ErrStale = errors.New("older than the binding that holds the prefix")
	// ErrEnded: this session has ended; somebody repeats what it once said.
	ErrEnded = errors.New("this session has ended")
	// ErrUnknownLine: nobody has such a circuit, user name or id.
	ErrUnknownLine = errors.New("nobody's line")
	// ErrFull: MaxBindings are held already.
	ErrFull = errors.New("no room for another binding")
	// ErrInvalid: no binding at all, such as a prefix that no customer can have.
	ErrInvalid = errors.New("not a binding")
)

// Bounds of a directory. A binding with a session and a user takes about 670 bytes in all (BenchmarkDirectoryLookup), an
// ended one about 300.
const (
	// MaxBindings is how many bindings of RADIUS, leases and API are held at once; one more is ErrFull.
	MaxBindings = 2 << 20
	// MaxHistory is how many ended bindings are kept; the one that ended first makes room.
	MaxHistory = 200_000
	// Retention is how long an ended binding is kept, unless Retain says otherwise.
	Retention = 180 * 24 * time.Hour
	// MaxPlans is how many subscribers may have a plan of the operator's.
	MaxPlans = 10_000
	// MaxTold is how many prefixes may change hands by one new list and still be told and kept one by one.
	MaxTold = 20_000

	maxCircuits = 16
	maxWord     = 512 // bytes of a session, a user or a circuit

	// slack is how much older than the last word on a prefix a new one may be: times in RADIUS are whole seconds.
	slack = 2 * time.Second
	// ahead is how far in the future a binding may be and still be believed: a clock was wrong when it was made.
	ahead = 10 * time.Minute
)

const userPrefix = "radius:"

// Unlisted tells whether id is a name that was made up for who is in no list: "100.64.9.9/32", or "radius:" and a name.
func Unlisted(id string) bool {
	if strings.HasPrefix(id, userPrefix) {
		return true
	}
	_, err := netip.ParsePrefix(id)
	return err == nil
}

// calls is the source's name for whoever has the prefix.
func (b *Binding) calls() string {
	if b.Source == API {
		return b.Subscriber
	}
	return b.User
}

// bindable refuses prefixes that no customer can have, and what has no bound.
func (b *Binding) bindable() bool {
	p := b.Prefix
	a := p.Addr()
	switch {
	case b.Source <= CSV || b.Source >= sources,
		!p.IsValid() || p != p.Masked() || a.Is4In6() || p.Bits() < 8,
		a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast(),
		a.Is4() && a.As4()[0] >= 240,
		len(b.Session) > maxWord || len(b.calls()) > maxWord || len(b.Circuits) > maxCircuits,
		b.Source != API && b.Session == "":
		return false
	}
	for _, c := range b.Circuits {
		if len(c) > maxWord {
			return false
		}
	}
	return true
}
