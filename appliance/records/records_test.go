package records

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
)

var at = time.Date(2026, 11, 21, 3, 12, 7, 123456789, time.UTC)

const localFour = 20

// parsed reads a line with somebody else's parser and returns its parameters.
func parsed(t *testing.T, line []byte) (*rfc5424.SyslogMessage, map[string]string) {
	t.Helper()
	m, err := rfc5424.NewParser().Parse(line)
	if err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	msg := m.(*rfc5424.SyslogMessage)
	if msg.StructuredData == nil || len(*msg.StructuredData) != 1 {
		t.Fatalf("structured data of %s: %v", line, msg.StructuredData)
	}
	return msg, (*msg.StructuredData)["mailweir@32473"]
}

func newChain(t *testing.T) *Chain {
	t.Helper()
	c, err := OpenChain(t.TempDir()+"/records.state", "box-1")
	if err != nil {
		t.Fatal(err)
	}
	c.SetPolicy("observe", "0123456789abcdef")
	return c
}

func samples() map[string]Entry {
	home := netip.MustParseAddrPort("100.64.0.11:40000")
	server := netip.MustParseAddrPort("[2001:db8::25]:25")
	decision := governor.Decision{Subscriber: "S-1001", Plan: "residential", At: at, Mode: governor.ModeEnforce, Action: governor.ActionDefer,
		Acted: true, Wait: 90 * time.Second, Stage: governor.StageDefer, Before: governor.StagePace, Of: governor.Sessions, Limit: 20, Burst: 5,
		Window: time.Hour, Value: 6, Ratio: 1.2, Until: at.Add(90 * time.Second), Case: "AB12C"}
	return map[string]Entry{
		"session": Session(SessionFacts{Subscriber: "S-1001", Plan: "residential", Binding: "csv", Src: home, Dst: server, Start: at, End: at.Add(2 * time.Second),
			BytesUp: 4000, BytesDown: 900, StartTLS: "accepted", TLS: "starttls", TLSVersion: "TLS1.3", JA4: "t13d1516h2_8daaf6152771_b186095e22b6",
			SNI: "mx.example", Handshake: "complete", Resumed: true, HandshakeBytes: 3100, Messages: 2, MessagesLo: -1, MessagesHi: -1, Recipients: 3, EndReason: "fin"}),
		"session found in mid-air": Session(SessionFacts{Src: home, Dst: server, End: at, BytesUp: -1, BytesDown: -1, HandshakeBytes: -1, Messages: -1,
			MessagesLo: -1, MessagesHi: -1, Recipients: -1, Rejected: -1, EndReason: "timeout"}),
		"decision": Decision(DecisionFacts{Decision: decision, Binding: "csv", Src: home, Dst: server}),
		"stage": Stage(governor.StageChange{Subscriber: "S-1001", Plan: "residential", From: governor.StagePace, To: governor.StageCut, Of: governor.ConcurrentSessions,
			Value: 12, Limit: 3, Burst: 3, Ratio: 4, At: at, Until: at.Add(time.Hour), Case: "AB12C", Why: "concurrent_sessions 12/3 (400%)"}),
		"audit":  Audit(AuditFacts{Time: at, Who: "admin", From: "socket", What: "release", Object: "S-1001", Before: "cut", After: "observe"}),
		"config": Config(ConfigFacts{Time: at, What: "refused", File: "mailweir.yaml", Detail: `mailweir.yaml:31: plans[0].budgets[2].per: "1 hour" has no unit we know`}),
		"health": Health(HealthFacts{Time: at, What: "record_loss", Target: "udp://192.0.2.1:514", Count: 7, FirstSeq: 3, LastSeq: 12}),
	}
}

func TestEveryKindParsesAsRFC5424(t *testing.T) {
	t.Parallel()
	for name, e := range samples() {
		c := newChain(t)
		r := c.Append(e, at)
		line := r.AppendLine(nil, localFour)
		msg, params := parsed(t, line)
		if *msg.MsgID != string(e.Kind) || *msg.Hostname != "box-1" || *msg.Appname != "mailweir" || *msg.Facility != localFour || *msg.Severity != uint8(e.Severity) {
			t.Errorf("%s: header of %s", name, line)
		}
		if !msg.Timestamp.Equal(e.Time.Truncate(time.Millisecond)) {
			t.Errorf("%s: time %v of %s", name, msg.Timestamp, line)
		}
		for _, p := range r.Params() {
			if p.Value == "" || params[p.Name] != p.Value {
				t.Errorf("%s: %s is %q, the parser read %q", name, p.Name, p.Value, params[p.Name])
			}
		}
		if len(params) != len(r.Params()) {
			t.Errorf("%s: %d parameters, the parser read %d: one is there twice", name, len(r.Params()), len(params))
		}
	}
}

func TestWordsOfTheContract(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"session": {"subscriber", "plan", "binding", "src", "sport", "dst", "dport", "start", "end", "dur_ms", "bytes_up", "bytes_down", "starttls", "tls",
			"tls_version", "ja4", "sni", "handshake", "handshake_bytes", "messages", "recipients", "rejected", "end_reason", "handshake_ratio", "resumed"},
		"session found in mid-air": {"src", "sport", "dst", "dport", "end", "end_reason"},
		"decision": {"subscriber", "plan", "binding", "src", "sport", "dst", "dport", "action", "acted", "stage", "reason", "budget", "window", "limit", "burst",
			"value", "ratio", "wait_ms", "until", "case"},
		"stage":  {"subscriber", "plan", "from", "to", "reason", "budget", "limit", "value", "ratio", "until", "case"},
		"audit":  {"who", "from", "what", "object", "before", "after"},
		"config": {"what", "file", "detail"},
		"health": {"what", "target", "count", "first_seq", "last_seq"},
	} {
		r := newChain(t).Append(samples()[name], at)
		var got []string
		for _, p := range r.Params() {
			got = append(got, p.Name)
		}
		if want = append(append([]string{"seq", "box", "event", "mode", "policy"}, want...), "text_sum"); !reflect.DeepEqual(got, want) { // no prev: it is the first
			t.Errorf("%s:\ngot  %v\nwant %v", name, got, want)
		}
	}
}

func TestDecisionValues(t *testing.T) {
	t.Parallel()
	r := newChain(t).Append(samples()["decision"], at)
	for name, want := range map[string]string{
		"mode":  "enforce", // the decision's own, not the chain's
		"acted": "1", "action": "defer", "stage": "defer", "budget": "sessions", "window": "1h", "limit": "20", "burst": "5", "value": "6", "ratio": "1.20",
		"wait_ms": "90000", "until": "2026-11-21T03:13:37.123Z", "src": "100.64.0.11", "sport": "40000", "dst": "2001:db8::25",
		"reason": "sessions 6/5 at once, 20 per 1h (120%)",
	} {
		if got := r.Value(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if want := "S-1001: defer, sessions 6/5 at once, 20 per 1h (120%)"; r.Text != want {
		t.Errorf("text %q, want %q", r.Text, want)
	}
}

func TestHostileValuesStayOneLine(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		`a"] [x@1 y="z`, `\`, `\"`, "]]]", "a\r\n<13>1 - - - - - - forged", "\x00\x1b[2J", "\xff\xfe", "\u202Egpj.exe", "a\u2028b", "\u0085", "\uFEFF", "é漢🙂",
		strings.Repeat("x", 70000), strings.Repeat("é", 5000),
	} {
		r := newChain(t).Append(Session(SessionFacts{SNI: evil, Subscriber: evil}), at)
		line := r.AppendLine(nil, localFour)
		_, params := parsed(t, line)
		if params["sni"] != r.Value("sni") || len(params["sni"]) > 1024 {
			t.Errorf("%.40q: got %.80q", evil, params["sni"])
		}
		if strings.ContainsAny(string(line), "\r\n\x00\x1b\u202e\u2028\u0085") {
			t.Errorf("%.40q got into the line", evil)
		}
		if len(line) > 8192 {
			t.Errorf("%.40q: a line of %d bytes", evil, len(line))
		}
	}
}

func TestBoxNameIsAHostName(t *testing.T) {
	t.Parallel()
	for _, box := range []string{"", "two words", "bäx", strings.Repeat("x", 300), "a\nb"} {
		c := newChain(t)
		c.box = box
		r := c.Append(samples()["health"], at)
		parsed(t, r.AppendLine(nil, localFour))
	}
}

func TestEveryFacilityOfTheConfigurationIsKnown(t *testing.T) {
	t.Parallel()
	f, _ := reflect.TypeFor[config.Syslog]().FieldByName("Facility")
	words := strings.Fields(f.Tag.Get("allowed"))
	if len(words) != len(facilities) {
		t.Errorf("%d words, %d facilities", len(words), len(facilities))
	}
	for _, w := range words {
		if _, ok := ParseFacility(w); !ok {
			t.Errorf("facility %q is unknown here", w)
		}
	}
}
