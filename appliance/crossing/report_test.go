package crossing

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// many gives n sessions with so many messages each, all estimated the same.
func many(n, messages int, kind Kind, x Estimate) []Estimated {
	out := make([]Estimated, n)
	for i := range out {
		out[i] = Estimated{Session: Session{Messages: messages, Run: Run{Case: Case{Kind: kind}}}, By: map[Way]Estimate{Steered: x}}
	}
	return out
}

func TestGoals(t *testing.T) {
	t.Parallel()
	good := many(1000, 2, Mail, Estimate{2, 2})
	for _, row := range []struct {
		why  string
		all  []Estimated
		want string // what is complained of; "" nothing

		slack int
	}{
		{"all is well", good, "", 0},
		{"as many outside as may be", append(many(10, 3, Mail, Estimate{1, 2}), good...), "", 0},
		{"one too many outside", append(many(11, 3, Mail, Estimate{1, 2}), good...), "lies in lo..hi in 98.9 %", 0},
		{"which is slack", append(many(11, 3, Mail, Estimate{1, 2}), good...), "", 1},
		{"wide ones", append(many(120, 2, Mail, Estimate{0, 2}), good...), "hi - lo is at most 1 or 5 % in 89.3 %", 0},
		{"a twentieth is narrow", append(many(1000, 100, Mail, Estimate{96, 101}), good...), "", 0},
		{"no bound is not narrow", many(1, 2, Mail, Estimate{2, -1}), "hi - lo is at most 1 or 5 % in 0.0 %", 0},
		{"nothing is invented", append(many(1, 0, Leave, Estimate{0, 1}), good...), "", 0},
		{"one is", append(many(1, 0, Leave, Estimate{1, 1}), good...), "no message, but lo is 1", 5},
		{"most of those at once", append(many(1, 20, Burst, Estimate{0, 1}), many(10, 20, Burst, Estimate{0, 60})...), "", 0},
		{"too few of them", append(many(2, 20, Burst, Estimate{0, 1}), many(10, 20, Burst, Estimate{0, 60})...), "lies in lo..hi in 83.3 % of the sessions with messages all at once", 0},
		{"more than there were at once", append(many(1, 2, Burst, Estimate{3, 9}), many(100, 20, Burst, Estimate{0, 60})...), "2 messages at once, but lo is 3", 5},
		{"refused after the content", append(many(500, 0, NotWanted, Estimate{1, 1}), good...), "", 0},
	} {
		err := (&Report{Sessions: row.all}).Goals(row.slack)
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.why, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %v, want %s", row.why, err, row.want)
		}
	}
}

// somebody is a client that only has a machine.
type somebody struct{ client }

func (somebody) line() lab.Line { return lab.Line{IPv4: netip.MustParseAddr("100.64.0.12")} }

// What is true must not be a matter of opinion: whatever the log, the capture and the client say differently is an error.
func TestTruthIsAgreedUpon(t *testing.T) {
	t.Parallel()
	from, to := netip.MustParseAddrPort("100.64.0.12:40001"), netip.MustParseAddrPort("198.51.100.10:25")
	at := time.Unix(1000, 0)
	server := &Server{MailServer: &lab.MailServer{Line: lab.Line{Name: "mx", IPv4: to.Addr()}}}
	run := func(c claim) []Run {
		return []Run{{Begin: at, End: at.Add(time.Second), claim: c, client: somebody{}, server: server, Host: "mx"}}
	}
	flow := Flow{Client: from, Server: to, Start: at.Add(time.Millisecond)}
	for _, row := range []struct {
		why   string
		taken []lab.Taken
		claim claim
		flows []Flow
		want  string
	}{
		{"agreed", []lab.Taken{{From: from, Messages: 2}}, claim{counted: true, messages: 2}, []Flow{flow}, ""},
		{"a client that does not count", []lab.Taken{{From: from, Messages: 2}}, claim{}, []Flow{flow}, ""},
		{"a log without ports", []lab.Taken{{From: netip.AddrPortFrom(from.Addr(), 0), Messages: 2}}, claim{counted: true, messages: 2}, []Flow{flow}, ""},
		{"sent twice", []lab.Taken{{From: from, Messages: 3}}, claim{counted: true, messages: 2, atLeast: true}, []Flow{flow}, ""},
		{"the client counts more", []lab.Taken{{From: from, Messages: 1}}, claim{counted: true, messages: 2}, []Flow{flow}, "says that 2 messages were taken"},
		{"the client counts less", []lab.Taken{{From: from, Messages: 3}}, claim{counted: true, messages: 2}, []Flow{flow}, "says that 2 messages were taken"},
		{"less than given", []lab.Taken{{From: from, Messages: 1}}, claim{counted: true, messages: 2, atLeast: true}, []Flow{flow}, "says that 2 messages were taken"},
		{"not in the log", nil, claim{}, []Flow{flow}, "does not have the session"},
		{"not in the capture", []lab.Taken{{From: from}, {From: from}}, claim{}, []Flow{flow}, "not in the capture"},
		{"before anybody did anything", nil, claim{}, []Flow{{Client: from, Server: to, Start: at.Add(-time.Second)}}, "nobody did the session"},
	} {
		_, err := match(map[*Server][]lab.Taken{server: row.taken}, run(row.claim), row.flows)
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.why, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: %v, want %s", row.why, err, row.want)
		}
	}
}

func TestAddressesOfProc(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"0100007F:0019": "127.0.0.1", "B80D0120000001F00000000025000000:01D1": "2001:db8:f001::25"} {
		a, ok := procAddress(text)
		if !ok || want != "" && a.String() != want {
			t.Errorf("%s: %v, want %s", text, a, want)
		}
	}
}
