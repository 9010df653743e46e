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
	Resumed          bool   // the handshake went on from an earlier one
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
	Unheld           int           // replies that should have been held and passed: too many were held already, or they were gone before the charge was known
	Gaps             int           // holes that were never filled
	Unknown          bool          // found in mid-air, or not SMTP: what is counted is what we saw
}

// sessionSize is enough for nearly every session's parameters.
const sessionSize = 640

// Session is the entry of a session that ended.
func Session(f SessionFacts) Entry {
	took := int64(-1)
	if !f.Start.IsZero() && !f.End.Before(f.Start) {
		took = f.End.Sub(f.Start).Milliseconds()
	}
	p := make(params, 0, sessionSize).
		add("subscriber", f.Subscriber).
		add("plan", f.Plan).
		add("binding", f.Binding).
		endpoint("src", "sport", f.Src).
		endpoint("dst", "dport", f.Dst).
		time("start", f.Start).
		time("end", f.End).
		number("dur_ms", took).
		number("bytes_up", f.BytesUp).
		number("bytes_down", f.BytesDown).
		add("starttls", f.StartTLS).
		add("tls", f.TLS).
		add("tls_version", f.TLSVersion).
		add("ja4", f.JA4).
		add("ja3", f.JA3).
		add("sni", f.SNI).
		add("handshake", f.Handshake).
		add("alert", f.Alert).
		number("handshake_bytes", f.HandshakeBytes).
		number("messages", int64(f.Messages)).
		number("messages_lo", int64(f.MessagesLo)).
		number("messages_hi", int64(f.MessagesHi)).
		number("recipients", int64(f.Recipients)).
		number("rejected", int64(f.Rejected)).
		add("end_reason", f.EndReason).
		share("handshake_ratio", f.HandshakeBytes, f.BytesUp+f.BytesDown).
		counted("held_ms", f.Held.Milliseconds()).
		counted("dropped", int64(f.Dropped)).
		counted("unheld", int64(f.Unheld)).
		counted("gaps", int64(f.Gaps))
	if f.Resumed {
		p = p.add("resumed", "1")
	}
	if f.Unknown {
		p = p.add("unknown", "1")
	}
	return Entry{Kind: KindSession, Severity: Info, Time: f.End, Text: sessionText(f, max(took, 0)), params: p}
}

func sessionText(f SessionFacts, took int64) string {
	b := make([]byte, 0, 128)
	b = append(append(b, f.Subscriber...), " to "...)
	b = append(f.Dst.AppendTo(b), ", "...)
	b = append(strconv.AppendInt(b, took, 10), " ms"...)
	if f.TLS != "" && f.TLS != "none" {
		b = append(append(b, ", TLS handshake "...), f.Handshake...)
	}
	lo, hi := max(f.Messages, f.MessagesLo), f.MessagesHi
	if lo > 0 || hi > 0 {
		b = strconv.AppendInt(append(b, ", "...), int64(lo), 10)
		switch {
		case hi < 0:
			b = append(b, " or more"...)
		case hi > lo:
			b = strconv.AppendInt(append(b, " to "...), int64(hi), 10)
		}
		b = append(b, " messages"...)
	}
	return string(b)
}

// DecisionFacts are a decision and the session it was about.
type DecisionFacts struct {
	governor.Decision
	Binding  string
	Src, Dst netip.AddrPort // zero when the decision was not about one session
	Answer   string         // reset: who is deferred cannot be told why; "" otherwise
}

// Decision is the entry of a verdict other than pass, or of a pass that would have been something else in enforce.
func Decision(f DecisionFacts) Entry {
	wait := int64(-1)
	if f.Wait > 0 {
		wait = f.Wait.Milliseconds()
	}
	p := make(params, 0, sessionSize).
		add("subscriber", f.Subscriber).
		add("plan", f.Plan).
		add("binding", f.Binding).
		endpoint("src", "sport", f.Src).
		endpoint("dst", "dport", f.Dst).
		add("action", f.Action.String()).
		add("acted", zeroOne(f.Acted)).
		add("stage", f.Stage.String()).
		add("reason", f.Reason()).
		budget(f.Of, f.Window, f.Limit, f.Burst, f.Value, f.Ratio).
		number("wait_ms", wait).
		time("until", f.Until).
		add("case", f.Case).
		add("exemption", f.Exemption).
		add("answer", f.Answer)
	if f.Retry {
		p = p.add("retry", "1")
	}

	text := fmt.Sprintf("%s: %s, %s", f.Subscriber, f.Action, f.Reason())
	switch {
	case f.Exemption != "":
		text += " (exempt: passed)"
	case !f.Acted && f.Mode == governor.ModeObserve:
		text += " (observed only)"
	}
	if f.Answer != "" {
		text += " (answered with a " + f.Answer + ", the bridge has no way to say it)"
	}
	if f.Retry {
		text += " (a retry)"
	}
	severity := Notice
	if f.Acted && f.Action >= governor.ActionDefer {
		severity = Warning
	}
	return Entry{Kind: KindDecision, Severity: severity, Time: f.At, Mode: f.Mode.String(), Text: text, params: p}
}

// Stage is the entry of a subscriber's step up or down the ladder.
func Stage(c governor.StageChange) Entry {
	p := params(nil).
		add("subscriber", c.Subscriber).
		add("plan", c.Plan).
		add("from", c.From.String()).
		add("to", c.To.String()).
		add("reason", c.Why).
		budget(c.Of, c.Window, c.Limit, c.Burst, c.Value, c.Ratio).
		time("until", c.Until).
		add("case", c.Case)
	severity := Notice
	if c.To > c.From && c.To >= governor.StageDefer {
		severity = Warning
	}
	text := fmt.Sprintf("%s: %s -> %s, %s", c.Subscriber, c.From, c.To, c.Why)
	return Entry{Kind: KindStage, Severity: severity, Time: c.At, Mode: c.Mode.String(), Text: text, params: p}
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
	return Entry{Kind: KindAudit, Severity: Notice, Time: f.Time, Text: strings.TrimSpace(fmt.Sprintf("%s: %s %s", f.Who, f.What, f.Object)),
		params: params(nil).
			add("who", f.Who).
			add("from", f.From).
			add("what", f.What).
			add("object", f.Object).
			add("before", f.Before).
			add("after", f.After)}
}

// ConfigFacts say what became of a configuration.
type ConfigFacts struct {
	Time time.Time
	What string // started reloaded refused
	File string
	// Detail is the first problem when it was refused, and what waits for a restart when it was taken.
	Detail string
}

// Config is the entry of a configuration taken or refused.
func Config(f ConfigFacts) Entry {
	e := Entry{Kind: KindConfig, Severity: Notice, Time: f.Time, Text: "configuration " + f.What,
		params: params(nil).add("what", f.What).add("file", f.File).add("detail", f.Detail)}
	switch {
	case f.What == "refused":
		e.Severity = Error
		e.Text += ", the running one goes on: " + f.Detail
	case f.Detail != "":
		e.Text += ", " + f.Detail
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
	Seqs              string        // which of them, as 3-7,9; empty: all of them, or not known
	Doubt             string        // which may be missing at Target at most, beside those: nobody knows
	TwiceAfter        uint64        // numbers behind it may have been given before, to other records; 0: none was
	Collectors        string        // who misses them, where Target does not name him: URLs with a blank between
	Took              time.Duration // how long it lasted; 0 is left out
	Detail            string
}

// Health is the entry of a trouble of the box, or of its end.
func Health(f HealthFacts) Entry {
	p := params(nil).add("what", f.What).add("target", f.Target).add("subscriber", f.Subscriber)
	text := f.What
	if f.Target != "" {
		text += " " + f.Target
	}
	if f.Count > 0 {
		p = p.add("count", strconv.FormatUint(f.Count, 10))
		text += fmt.Sprintf(": %d", f.Count)
	}
	if f.FirstSeq > 0 {
		p = p.add("first_seq", strconv.FormatUint(f.FirstSeq, 10)).add("last_seq", strconv.FormatUint(f.LastSeq, 10))
		text += fmt.Sprintf(", seq %d to %d", f.FirstSeq, f.LastSeq)
	}
	p = p.add("seqs", f.Seqs).add("doubt", f.Doubt).add("collectors", f.Collectors).counted("twice_after", int64(f.TwiceAfter)).counted("dur_ms", f.Took.Milliseconds())
	p = p.add("detail", f.Detail)
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	severity := Warning
	if f.Good {
		severity = Notice
	}
	return Entry{Kind: KindHealth, Severity: severity, Time: f.Time, Text: text, params: p}
}

func (p params) budget(of governor.Kind, window time.Duration, limit, burst, value int, ratio float64) params {
	if of == governor.Unknown {
		return p
	}
	p = p.add("budget", of.String())
	if window > 0 {
		p = p.add("window", config.FormatDuration(window))
	}
	p = p.add("limit", strconv.Itoa(limit))
	if burst != limit {
		p = p.add("burst", strconv.Itoa(burst))
	}
	return p.add("value", strconv.Itoa(value)).add("ratio", strconv.FormatFloat(ratio, 'f', 2, 64))
}

func zeroOne(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
