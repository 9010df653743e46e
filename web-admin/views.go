package webadmin

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// Time is a moment as the API writes it: RFC 3339, UTC, milliseconds; the zero Time is null.
type Time struct{ time.Time }

// At wraps t for the API.
func At(t time.Time) Time { return Time{t} }

// MarshalJSON writes RFC 3339 in UTC with milliseconds, or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z07:00"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	return json.Unmarshal(b, &t.Time)
}

// Seconds is a duration as the API writes it: a number of seconds in a key that ends in _s.
type Seconds time.Duration

// MarshalJSON writes seconds with at most millisecond precision.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(s).Milliseconds())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// Status is the box as a whole: GET /api/v1/status.
type Status struct {
	Version string `json:"version"`
	Box     string `json:"box"`  // the box's name or id in its records
	Mode    string `json:"mode"` // observe | enforce
	Since   Time   `json:"mode_since"`
	Ready   bool   `json:"ready"` // packets are being judged
	Image   bool   `json:"image"` // the box runs mailweir's own image: a menu at its console, and no shell
	// FailClosed: network.on_failure is closed, so what nobody judges is dropped, as long as it is steered to us.
	FailClosed bool    `json:"fail_closed"`
	Steered    bool    `json:"steered"` // the kernel has the rules that steer mail to us; without them it forwards what comes
	Uptime     Seconds `json:"uptime_s"`
	Ports      []int   `json:"limited_ports"`
	Lanes      Lanes   `json:"lanes"`
	Bridge     *Bridge `json:"bridge,omitempty"` // only with network.topology: bridge
	Router     *Router `json:"router,omitempty"` // only with network.topology: routed, where the ports' addresses are the box's to give
	// Sessions counts TCP sessions on governed ports since the start.
	Sessions Sessions `json:"sessions"`
	// Actions counts decisions about sessions since the start, as decided; in observe mode none of them was carried out.
	Actions Actions `json:"actions"`
	// Acted counts decisions that were carried out; 0 in observe mode.
	Acted int64 `json:"acted"`
	// WouldHaveActed counts decisions that observe mode turned into a pass.
	WouldHaveActed int64          `json:"would_have_acted"`
	Stages         Stages         `json:"stages"` // subscribers per stage, now
	Exempt         int            `json:"exempt"` // subscribers with an exemption, now
	Clusters       Clusters       `json:"clusters"`
	Syslog         []Syslog       `json:"syslog"`
	Notices        []NoticeTarget `json:"notices"`
	Clock          Clock          `json:"clock"`
	Spool          Spool          `json:"spool"`
	Head           Head           `json:"head"`
	Journal        Journal        `json:"journal"`
	Store          Store          `json:"store"`
	// Problems are faults that the fields above do not show. Collectors that are down, a store that is not OK, a clock that is not
	// synchronised and a box that is not ready need not be repeated here: the pages say them anyway.
	Problems []Problem `json:"problems"`
}

// unmeasured tells whether the part that judges packets has only begun, or begun again, so that what counts since its start says nothing.
func (st Status) unmeasured() bool {
	return !st.Ready && st.Sessions.Total == 0 && st.Lanes.Queue.Packets == 0 && st.Lanes.Fast.Packets == 0
}

// Router says what the ports of a box have that routes.
type Router struct {
	Addresses []PortAddress `json:"addresses"`
	Routes    []PortRoute   `json:"routes"`
}

// PortAddress is an address of one of the ports.
type PortAddress struct {
	Interface string `json:"interface"`
	Address   string `json:"address"` // ADDRESS/BITS
}

// PortRoute says behind which router a network is.
type PortRoute struct {
	To        string `json:"to"` // NETWORK/BITS, or default
	Via       string `json:"via"`
	Interface string `json:"interface,omitempty"`
}

// Bridge says how the bridge is governed. What has a VLAN tag or a PPPoE header passes it unjudged.
type Bridge struct {
	Name       string   `json:"name"`              // "" while none of the ports is on one
	Why        string   `json:"why,omitempty"`     // it is not as it has to be
	Changed    []string `json:"changed,omitempty"` // settings of the bridge that are ours until we stop
	Answer4    bool     `json:"answers_ipv4"`      // who is deferred can be told why; otherwise he is reset
	Answer6    bool     `json:"answers_ipv6"`
	Tracked    string   `json:"tracked_by,omitempty"` // who asks conntrack, so that all that crosses the bridge is in its table; none: only mail is
	Unanswered int64    `json:"unanswered"`           // deferred sessions that were reset, since no way back was known
	Tagged     Tagged   `json:"tagged"`
}

// Tagged says what is done about mail with VLAN tags or in PPPoE, in packets since the start.
type Tagged struct {
	On       bool   `json:"governed"`
	Why      string `json:"why,omitempty"` // why not, or what is not as it has to be
	Taken    int64  `json:"taken_off"`     // whose tags were taken off
	Returned int64  `json:"put_on"`        // and put on again
	Own      int64  `json:"own"`           // of the box, to clients behind tags
	Odd      int64  `json:"odd"`           // passed unread
	Dropped  int64  `json:"dropped"`       // their tags could not be put on again
}

// Lanes says how packets reach a decision.
type Lanes struct {
	Fast  FastLane  `json:"fast"`
	Queue QueueLane `json:"queue"`
}

// FastLane is the lane whose packets do not wait. Why says why it is off, or why it is not on every interface.
type FastLane struct {
	On          bool             `json:"on"`
	Why         string           `json:"why"`
	How         string           `json:"how,omitempty"`        // tcx | clsact: what it is attached by
	Tracked     string           `json:"tracked_by,omitempty"` // who asks conntrack about packets, so that its own are tracked, too; none: they are not
	Subscribers int              `json:"subscribers"`          // who may begin sessions unasked now
	Addresses   int              `json:"addresses"`            // of theirs
	Allowed     int              `json:"sessions_allowed"`     // sessions that they may begin
	Sessions    int64            `json:"sessions"`             // that began unasked, since the start
	Waited      map[string]int64 `json:"waited,omitempty"`     // sessions that took the way of the queue, by reason
	Handed      int64            `json:"handed_over"`          // running sessions that were handed over to the queue
	Packets     int64            `json:"packets"`              // that did not wait
	Copies      int64            `json:"copies"`
	CopiesLost  int64            `json:"copies_lost"`
	Dropped     map[string]int64 `json:"dropped,omitempty"` // SYNs dropped on arrival, by reason
	// Next counts the subscribers that did something lately by what their next session meets: see Lane.Reason. It is made now
	// and then.
	Next map[string]int64 `json:"next,omitempty"`
	// Waiting names some of those whose next session waits for another reason than that it is the first: strictest stage first.
	Waiting  []Waiting `json:"waiting,omitempty"`
	ShortCut ShortCut  `json:"short_cut"`
}

// Waiting is a subscriber whose next session waits for a verdict.
type Waiting struct {
	Subscriber string `json:"subscriber"`
	Reason     string `json:"reason"`
	Why        string `json:"why"`
}

// ShortCut is the way past netfilter for packets of the fast lane. Why says who wants to see them there, or what else keeps them from it.
type ShortCut struct {
	On      bool             `json:"on"`
	Why     string           `json:"why,omitempty"`
	Packets int64            `json:"packets"`         // that took it
	Stack   map[string]int64 `json:"stack,omitempty"` // of the fast lane that the kernel forwarded as it does all others, by reason
}

// QueueLane is the kernel's packet queue, summed over the queue numbers.
type QueueLane struct {
	Depth       int64  `json:"depth"`        // packets that wait for a verdict now, without those held on purpose
	Dropped     int64  `json:"dropped"`      // packets the kernel dropped because the queue was full (0 when failing open)
	UserDropped int64  `json:"user_dropped"` // packets the kernel could not hand to us
	Held        int64  `json:"held"`         // packets held on purpose now: replies of paced sessions
	Packets     int64  `json:"packets"`      // judged since the start
	Form        string `json:"form,omitempty"`
	Reader      string `json:"reader,omitempty"`
}

// Sessions counts TCP sessions.
type Sessions struct {
	Open  int64 `json:"open"`
	Total int64 `json:"total"`
}

// Actions counts decisions by what was decided; FailedOpen counts packets that passed unjudged although they should have been judged.
type Actions struct {
	Passed     int64 `json:"passed"`
	Paced      int64 `json:"paced"`
	Deferred   int64 `json:"deferred"`
	Cut        int64 `json:"cut"`
	FailedOpen int64 `json:"failed_open"`
}

// Stages counts subscribers by stage.
type Stages struct {
	Observe int `json:"observe"`
	Warn    int `json:"warn"`
	Pace    int `json:"pace"`
	Defer   int `json:"defer"`
	Cut     int `json:"cut"`
}

// Syslog is one collector.
type Syslog struct {
	URL       string `json:"url"`
	Up        bool   `json:"up"`
	Since     Time   `json:"since"` // when Up last changed
	Behind    int64  `json:"behind"`
	Dropped   int64  `json:"dropped"`
	Oldest    Time   `json:"oldest_waiting"` // of the records that it has not got
	LastError string `json:"last_error"`     // "not tried yet" until something was sent
}

const notTried = "not tried yet"

// untried tells whether nothing was ever sent to the collector, so that it is neither up nor down.
func (t Syslog) untried() bool {
	return !t.Up && t.Since.IsZero() && (t.LastError == "" || t.LastError == notTried)
}

// Clock says whether the wall clock can be trusted. Known is false when nobody told us, and then nothing is claimed on the pages.
type Clock struct {
	Known   bool    `json:"known"`
	Synced  bool    `json:"synced"`
	Kept    bool    `json:"kept"`              // by the box itself, as in the image; otherwise by another program or nobody
	Offset  Seconds `json:"offset_s"`          // when a server was heard last; only where Kept
	Server  string  `json:"server,omitempty"`  // that was believed last
	Stratum int     `json:"stratum,omitempty"` // of the server
	Heard   Time    `json:"heard_at"`
	Why     string  `json:"why,omitempty"` // what was wrong when the servers were asked last
}

// Store is the database of budgets and stages.
type Store struct {
	OK           bool   `json:"ok"`
	Why          string `json:"why,omitempty"`       // what is wrong when not OK
	WrittenToday int64  `json:"written_bytes_today"` // since WrittenSince; as the kernel counts what mailweir has to be written to a disk, where it does
	WrittenSince Time   `json:"written_since"`       // midnight UTC, or the start if that was later
	// WrittenYesterday is of the whole day (UTC) before; 0: mailweir did not run all of it, or was started again since.
	WrittenYesterday int64 `json:"written_bytes_yesterday"`
}

// Problem is something that somebody should look at. All three sentences are for people.
type Problem struct {
	What    string `json:"what"`    // what happened: "Records cannot be sent to udp://192.0.2.1:514"
	Meaning string `json:"meaning"` // what it means for mail: "Mail is not affected."
	Do      string `json:"do"`      // what to do about it
	Since   Time   `json:"since"`
	By      Time   `json:"by"`              // when it gets worse, so that something is to be done before; null: no such time is known
	Link    string `json:"link,omitempty"`  // the page of the web admin where it is looked at
	Lines   bool   `json:"lines,omitempty"` // it is one of subscribers' lines, not of the box: the box is healthy
}

// Traffic is the last hour in equal steps: GET /api/v1/traffic. Oldest first; the last point may be incomplete.
type Traffic struct {
	Step   Seconds        `json:"step_s"`
	Points []TrafficPoint `json:"points"`
}

// TrafficPoint counts what happened in one step.
type TrafficPoint struct {
	Start   Time `json:"start"`
	Started int  `json:"started"` // sessions that started in this step
	// Handshakes are those of TLS that began in this step.
	Handshakes int `json:"handshakes"`
	// Sessions that ended in this step, by how they were protected. Other is what cannot be said (mid-air, nothing was sent).
	Clear    int `json:"clear"`
	StartTLS int `json:"starttls"`
	Implicit int `json:"implicit"`
	Other    int `json:"other"`
}

// Record is one record as it went to the collectors: GET /api/v1/records.
type Record struct {
	Seq        uint64  `json:"seq"`
	At         Time    `json:"time"`
	Kind       string  `json:"kind"`     // SESSION, DECISION, STAGE, AUDIT, CONFIG, HEALTH, …
	Severity   string  `json:"severity"` // error, warning, notice, info
	Subscriber string  `json:"subscriber"`
	Text       string  `json:"text"` // one line for people; may be empty
	Params     []Param `json:"-"`
	Line       string  `json:"line"` // the whole RFC 5424 line
	Hash       string  `json:"hash"` // that the record after it has as prev
}

// Param is one parameter of a record. Params keep the record's order.
type Param struct{ Name, Value string }

// MarshalJSON writes the record with its parameters as one object, "params", in the record's order.
func (r Record) MarshalJSON() ([]byte, error) {
	var params bytes.Buffer
	params.WriteByte('{')
	for i, p := range r.Params {
		if i > 0 {
			params.WriteByte(',')
		}
		name, err := json.Marshal(p.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.Value)
		if err != nil {
			return nil, err
		}
		params.Write(name)
		params.WriteByte(':')
		params.Write(value)
	}
	params.WriteByte('}')
	type plain Record
	return json.Marshal(struct {
		plain
		Params json.RawMessage `json:"params"`
	}{plain(r), params.Bytes()})
}

// Query selects subscribers. The zero Query is the first page of all.
type Query struct {
	Stages []string // any of these; empty: all
	Text   string   // part of an id, a name, a plan or a case number, without regard to case; an address, a prefix, or the beginning of an address in whole numbers
	Exempt bool     // only those with an exemption
	Sort   string   // one of those below; empty: strictest stage first, then fullest budget, then id
	Limit  int      // 1..1000
	Cursor string   // from the page before
	// Tie takes the place of the id wherever that decides the order; nil: the id does. It is one function for as long as its source lives.
	Tie func(id string) uint64
	// TieKey is what Tie goes by, for [TieOf].
	TieKey []byte
}

// Orders of a list of subscribers beside the usual one.
const (
	SortName     = "name" // without regard to case; then id
	SortID       = "id"
	SortBudget   = "budget"   // fullest first; then id
	SortNetworks = "networks" // who contacted most, as far as a budget of destinations says; then id
	SortSince    = "since"    // who came into a stage above observe last, first; then as usual
)

// RecordQuery selects records. The zero RecordQuery is the newest page of all.
type RecordQuery struct {
	Kind       string
	Severity   string // this one or worse; empty: any
	Subscriber string
	Case       string    // that a record names
	Text       string    // part of a parameter that not all records have, or of the text, without regard to the case of ASCII letters
	Event      string    // the whole id
	Seq        uint64    // this number only; 0: any
	From, To   time.Time // zero: no bound; From is included, To is not
	After      uint64    // only records with a greater seq
	Below      uint64    // only records with a smaller seq; 0: any
	Limit      int       // 1..1000
	Cursor     string
}

// RecordPage is a page of records, the newest first: GET /api/v1/records. It may be empty and have a next one: then as much was
// looked at as is for one answer.
type RecordPage struct {
	Items []Record `json:"items"`
	Next  string   `json:"next"`             // the cursor of the following page; empty: that was all
	Back  Time     `json:"searched_back_to"` // where there is a next page: everything that is younger was looked at; null: not known
	Fault string   `json:"fault"`            // why there may be records that were not found; empty: there are none
}
