package records

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
)

// SessionFacts are those of one SMTP session that ended. A negative number is not known and left out, as is an empty word.
type SessionFacts struct {
	Subscriber, Plan string
	Binding          string // how the subscriber was found: csv, unmapped, ...
	Src, Dst         netip.AddrPort
	Start, End       time.Time
	BytesUp          int64
	BytesDown        int64
	StartTLS         string // none offered asked accepted refused
	TLS              string // none implicit starttls
	TLSVersion       string
	JA4, JA3, SNI    string
	Handshake        string // none complete failed abandoned
	Alert            string
	HandshakeBytes   int64
	Messages         int
	MessagesLo       int
	MessagesHi       int
	Recipients       int
	Rejected         int
	EndReason        string        // fin rst timeout cut shutdown unknown
	Held             time.Duration // how long the server's replies were held, in all
	Dropped          int           // packets we dropped: retransmissions of what was held
	Unheld           int           // replies that should have been held and passed, because too many were held already
	Gaps             int           // holes that were never filled
	Unknown          bool          // found in mid-air, or not SMTP: what is counted is what we saw
}

// Session is the entry of a session that ended.
func Session(f SessionFacts) Entry {
	p := make([]Param, 0, 32)
	p = append(p, Param{"subscriber", f.Subscriber}, Param{"plan", f.Plan}, Param{"binding", f.Binding})
	p = endpoints(p, f.Src, f.Dst)
	p = append(p, Param{"start", Stamp(f.Start)}, Param{"end", Stamp(f.End)})
	took := int64(-1)
	if !f.Start.IsZero() && !f.End.Before(f.Start) {
		took = f.End.Sub(f.Start).Milliseconds()
	}
	p = append(p,
		Param{"dur_ms", number(took)},
		Param{"bytes_up", number(f.BytesUp)},
		Param{"bytes_down", number(f.BytesDown)},
		Param{"starttls", f.StartTLS},
		Param{"tls", f.TLS},
		Param{"tls_version", f.TLSVersion},
		Param{"ja4", f.JA4},
		Param{"ja3", f.JA3},
		Param{"sni", f.SNI},
		Param{"handshake", f.Handshake},
		Param{"alert", f.Alert},
		Param{"handshake_bytes", number(f.HandshakeBytes)},
		Param{"messages", number(int64(f.Messages))},
		Param{"messages_lo", number(int64(f.MessagesLo))},
		Param{"messages_hi", number(int64(f.MessagesHi))},
		Param{"recipients", number(int64(f.Recipients))},
		Param{"rejected", number(int64(f.Rejected))},
		Param{"end_reason", f.EndReason},
		Param{"held_ms", counted(f.Held.Milliseconds())},
		Param{"dropped", counted(int64(f.Dropped))},
		Param{"unheld", counted(int64(f.Unheld))},
		Param{"gaps", counted(int64(f.Gaps))})
	if f.Unknown {
		p = append(p, Param{"unknown", "1"})
	}
	text := fmt.Sprintf("%s to %s, %d ms", f.Subscriber, f.Dst, max(took, 0))
	if f.TLS != "" && f.TLS != "none" {
		text += ", TLS handshake " + f.Handshake
	}
	if f.Messages > 0 {
		text += fmt.Sprintf(", %d messages", f.Messages)
	}
	return Entry{Kind: KindSession, Severity: Info, Time: f.End, Params: p, Text: text}
}

// DecisionFacts are a decision and the session it was about.
type DecisionFacts struct {
	governor.Decision
	Binding  string
	Src, Dst netip.AddrPort // zero when the decision was not about one session
}

// Decision is the entry of a verdict other than pass, or of a pass that would have been something else in enforce.
func Decision(f DecisionFacts) Entry {
	p := make([]Param, 0, 24)
	p = append(p, Param{"subscriber", f.Subscriber}, Param{"plan", f.Plan}, Param{"binding", f.Binding})
	p = endpoints(p, f.Src, f.Dst)
	p = append(p,
		Param{"action", f.Action.String()},
		Param{"acted", zeroOne(f.Acted)},
		Param{"stage", f.Stage.String()},
		Param{"reason", f.Reason()})
	p = budget(p, f.Of, f.Window, f.Limit, f.Burst, f.Value, f.Ratio)
	wait := int64(-1)
	if f.Wait > 0 {
		wait = f.Wait.Milliseconds()
	}
	p = append(p,
		Param{"wait_ms", number(wait)},
		Param{"until", Stamp(f.Until)},
		Param{"case", f.Case},
		Param{"exemption", f.Exemption})
	if f.Retry {
		p = append(p, Param{"retry", "1"})
	}

	text := fmt.Sprintf("%s: %s, %s", f.Subscriber, f.Action, f.Reason())
	switch {
	case f.Exemption != "":
		text += " (exempt: passed)"
	case !f.Acted && f.Mode == governor.ModeObserve:
		text += " (observed only)"
	}
	if f.Retry {
		text += " (a retry)"
	}
	severity := Notice
	if f.Acted && f.Action >= governor.ActionDefer {
		severity = Warning
	}
	return Entry{Kind: KindDecision, Severity: severity, Time: f.At, Mode: f.Mode.String(), Params: p, Text: text}
}

// Stage is the entry of a subscriber's step up or down the ladder.
func Stage(c governor.StageChange) Entry {
	p := []Param{
		{"subscriber", c.Subscriber},
		{"plan", c.Plan},
		{"from", c.From.String()},
		{"to", c.To.String()},
		{"reason", c.Why},
	}
	p = budget(p, c.Of, c.Window, c.Limit, c.Burst, c.Value, c.Ratio)
	p = append(p, Param{"until", Stamp(c.Until)}, Param{"case", c.Case})
	severity := Notice
	if c.To > c.From && c.To >= governor.StageDefer {
		severity = Warning
	}
	text := fmt.Sprintf("%s: %s -> %s, %s", c.Subscriber, c.From, c.To, c.Why)
	return Entry{Kind: KindStage, Severity: severity, Time: c.At, Mode: c.Mode.String(), Params: p, Text: text}
}

// AuditFacts say who changed what.
type AuditFacts struct {
	Time          time.Time
	Who, From     string // From: the address or "socket" that the change came over
	What          string // one word: release, login, token ...
	Object        string // what it was done to, a subscriber's id for instance
	Before, After string
}

// Audit is the entry of something a person did.
func Audit(f AuditFacts) Entry {
	return Entry{Kind: KindAudit, Severity: Notice, Time: f.Time, Params: []Param{
		{"who", f.Who}, {"from", f.From}, {"what", f.What}, {"object", f.Object}, {"before", f.Before}, {"after", f.After},
	}, Text: strings.TrimSpace(fmt.Sprintf("%s: %s %s", f.Who, f.What, f.Object))}
}

// ConfigFacts say what became of a configuration.
type ConfigFacts struct {
	Time time.Time
	What string // started reloaded refused
	File string
	// Detail is the first problem when it was refused.
	Detail string
}

// Config is the entry of a configuration taken or refused.
func Config(f ConfigFacts) Entry {
	e := Entry{Kind: KindConfig, Severity: Notice, Time: f.Time, Params: []Param{
		{"what", f.What}, {"file", f.File}, {"detail", f.Detail},
	}, Text: "configuration " + f.What}
	if f.What == "refused" {
		e.Severity = Error
		e.Text += ", the running one goes on: " + f.Detail
	}
	return e
}

// HealthFacts are about the box itself.
type HealthFacts struct {
	Time   time.Time
	What   string // one word: queue_overflow record_loss collector_down collector_up clock_step store chain ...
	Good   bool   // a trouble that ended
	Target string // which collector, queue or file
	// Subscriber is whose it is, where it is one's.
	Subscriber string
	Count      uint64 // how many packets or records; 0 is left out
	// FirstSeq and LastSeq enclose the records that are missing at Target; 0 is left out.
	FirstSeq, LastSeq uint64
	Detail            string
}

// Health is the entry of a trouble of the box, or of its end.
func Health(f HealthFacts) Entry {
	p := []Param{{"what", f.What}, {"target", f.Target}, {"subscriber", f.Subscriber}}
	text := f.What
	if f.Target != "" {
		text += " " + f.Target
	}
	if f.Count > 0 {
		p = append(p, Param{"count", strconv.FormatUint(f.Count, 10)})
		text += fmt.Sprintf(": %d", f.Count)
	}
	if f.FirstSeq > 0 {
		p = append(p, Param{"first_seq", strconv.FormatUint(f.FirstSeq, 10)}, Param{"last_seq", strconv.FormatUint(f.LastSeq, 10)})
		text += fmt.Sprintf(", seq %d to %d", f.FirstSeq, f.LastSeq)
	}
	p = append(p, Param{"detail", f.Detail})
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	severity := Warning
	if f.Good {
		severity = Notice
	}
	return Entry{Kind: KindHealth, Severity: severity, Time: f.Time, Params: p, Text: text}
}

// counted is a number that is left out when it is zero.
func counted(n int64) string {
	if n == 0 {
		return ""
	}
	return number(n)
}

func endpoints(p []Param, src, dst netip.AddrPort) []Param {
	if src.IsValid() {
		p = append(p, Param{"src", src.Addr().String()}, Param{"sport", strconv.Itoa(int(src.Port()))})
	}
	if dst.IsValid() {
		p = append(p, Param{"dst", dst.Addr().String()}, Param{"dport", strconv.Itoa(int(dst.Port()))})
	}
	return p
}

func budget(p []Param, of governor.Kind, window time.Duration, limit, burst, value int, ratio float64) []Param {
	if of == governor.Unknown {
		return p
	}
	p = append(p, Param{"budget", of.String()})
	if window > 0 {
		p = append(p, Param{"window", config.FormatDuration(window)})
	}
	p = append(p, Param{"limit", strconv.Itoa(limit)})
	if burst != limit {
		p = append(p, Param{"burst", strconv.Itoa(burst)})
	}
	return append(p, Param{"value", strconv.Itoa(value)}, Param{"ratio", strconv.FormatFloat(ratio, 'f', 2, 64)})
}

// number writes n, or "" when it is negative: not known.
func number(n int64) string {
	if n < 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func zeroOne(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
