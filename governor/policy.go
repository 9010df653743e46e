package governor

import (
	"fmt"
	"time"
)

// Kind says what a budget counts. Its words are those of the configuration.
type Kind uint8

// What can be counted. Unknown is the zero value: no budget counts it.
const (
	Unknown            Kind = iota
	Sessions                // SMTP sessions begun
	TLSHandshakes           // TLS handshakes begun
	TLSFailures             // TLS handshakes that failed or were abandoned
	ConcurrentSessions      // SMTP sessions running at the same time
	Destinations            // distinct destination networks
	Messages                // messages accepted by the server
	Recipients              // recipients accepted by the server
	Rejected                // 5xx replies of the server beyond one for nine recipients accepted
	kinds
)

var kindWords = [kinds]string{"unknown", "sessions", "tls_handshakes", "tls_failures", "concurrent_sessions",
	"destinations", "messages", "recipients", "rejected"}

// Kinds lists every kind a budget may count, in the order of the constants.
func Kinds() []Kind {
	all := make([]Kind, 0, kinds-1)
	for k := Sessions; k < kinds; k++ {
		all = append(all, k)
	}
	return all
}

func (k Kind) String() string { return word(kindWords[:], k) }

// ParseKind reads a kind as the configuration writes it; false for any other word.
func ParseKind(s string) (Kind, bool) {
	k, ok := parse[Kind](kindWords[:], s)
	return k, ok && k != Unknown
}

// Stage is how far up the ladder a subscriber stands.
type Stage uint8

// The ladder, from the bottom. The zero value is the one where nothing is done.
const (
	StageObserve Stage = iota
	StageWarn
	StagePace
	StageDefer
	StageCut
	stages
)

var stageWords = [stages]string{"observe", "warn", "pace", "defer", "cut"}

func (s Stage) String() string { return word(stageWords[:], s) }

// ParseStage reads a stage as the configuration writes it.
func ParseStage(s string) (Stage, bool) { return parse[Stage](stageWords[:], s) }

// Action is what a decision asks for. Pass is the zero value.
type Action uint8

// What can be done with a session, from the mildest.
const (
	ActionPass  Action = iota // let it go
	ActionWarn                // let it go, and say so in a record
	ActionPace                // let it go, after Wait
	ActionDefer               // the box answers 421 itself; Wait says when to retry
	ActionCut                 // reset, and so are the sessions running
	actions
)

var actionWords = [actions]string{"pass", "warn", "pace", "defer", "cut"}

func (a Action) String() string { return word(actionWords[:], a) }

// Mode says whether decisions are carried out.
type Mode uint8

// ModeObserve decides and records everything and then lets every session pass; ModeEnforce acts.
const (
	ModeObserve Mode = iota
	ModeEnforce
	modes
)

var modeWords = [modes]string{"observe", "enforce"}

func (m Mode) String() string { return word(modeWords[:], m) }

// ParseMode reads a mode as the configuration writes it.
func ParseMode(s string) (Mode, bool) { return parse[Mode](modeWords[:], s) }

// Budget is one limit as configured: Limit of something per window, of which Burst may be used at once.
// Burst 0 means Limit. ConcurrentSessions has neither window nor burst.
type Budget struct {
	Of    Kind
	Limit int
	Per   time.Duration
	Burst int
}

// Ladder says at how many per cent of a budget which stage begins, and how long things last.
type Ladder struct {
	WarnAt, PaceAt, DeferAt, CutAt int           // per cent, in rising order
	PaceMax                        time.Duration // the longest a reply is held
	CutFor                         time.Duration // how long a cut lasts
	ReleaseAfter                   time.Duration // below WarnAt for so long: back to observe
}

// DefaultLadder is the ladder of a plan that names none.
func DefaultLadder() Ladder {
	return Ladder{WarnAt: 50, PaceAt: 80, DeferAt: 100, CutAt: 300,
		PaceMax: time.Minute, CutFor: time.Hour, ReleaseAfter: 15 * time.Minute}
}

// Plan is a set of budgets with one ladder. HighestStage is the highest stage a subscriber of this plan can reach.
type Plan struct {
	Name         string
	HighestStage Stage
	Budgets      []Budget
	Ladder       Ladder
}

// Policy is all that the governor is told to go by. Hash names it in records; Sum makes a stable one.
type Policy struct {
	Mode  Mode
	Plans []Plan
	Hash  string
}

type enum interface {
	~uint8
}

func word[E enum](words []string, e E) string {
	if int(e) < len(words) {
		return words[e]
	}
	return fmt.Sprintf("invalid(%d)", uint8(e))
}

func parse[E enum](words []string, s string) (E, bool) {
	for i, w := range words {
		if w == s {
			return E(i), true
		}
	}
	return 0, false
}
