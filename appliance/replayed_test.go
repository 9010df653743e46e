package appliance

import (
	"testing"

	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/session"
)

// TestAReplaySumsUpWhatIsEstimated: messages inside TLS are in the sums with both ends of their range.
func TestAReplaySumsUpWhatIsEstimated(t *testing.T) {
	t.Parallel()
	all := newTally()
	for _, f := range []session.Facts{
		{Messages: 2, MessagesLo: 2, MessagesHi: 2, Recipients: 5},
		{TLS: session.TLSStartTLS, MessagesLo: 3, MessagesHi: 4},
		{TLS: session.TLSStartTLS, Messages: 1, MessagesLo: 2, MessagesHi: 2}, // one was said in clear before
	} {
		all.session(&played{visit: &visit{who: who{id: "S-1"}}}, &nfq.Summary{Facts: f})
	}
	all.session(&played{visit: &visit{who: who{id: "S-2"}}}, &nfq.Summary{Facts: session.Facts{TLS: session.TLSImplicit, MessagesLo: 6, MessagesHi: -1}})
	if s := all.sum; s.Messages != 3 || s.MessagesLo != 13 || s.MessagesHi != 14 || s.Unbounded != 1 || s.Recipients != 5 {
		t.Errorf("%+v", s)
	}
	if a := all.accounts["S-1"]; a.MessagesLo != 7 || a.MessagesHi != 8 || a.Unbounded {
		t.Errorf("%+v", a.ReplaySubscriber)
	}
	if a := all.accounts["S-2"]; a.MessagesLo != 6 || !a.Unbounded {
		t.Errorf("%+v", a.ReplaySubscriber)
	}
}
