package main

import (
	"testing"

	"github.com/mailweir/mailweir/appliance"
)

// TestMessagesInWords: what was read and what was estimated are told apart, and what has no bound is said to have none.
func TestMessagesInWords(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]appliance.ReplaySessions{
		"0 accepted": {},
		"3 accepted": {Messages: 3, MessagesLo: 3, MessagesHi: 3},
		"3 to 5 accepted (1 read in clear, at least 2 estimated inside TLS)": {Messages: 1, MessagesLo: 3, MessagesHi: 5},
		"0 to 2 accepted": {MessagesHi: 2},
		"3 accepted, beside those of 2 sessions that cannot be told": {Messages: 3, MessagesLo: 3, MessagesHi: 3, Unbounded: 2},
	} {
		if got := messages(&s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, s := range map[string]appliance.ReplaySubscriber{"7": {MessagesLo: 7, MessagesHi: 7}, "7 to 9": {MessagesLo: 7, MessagesHi: 9}, "7+": {MessagesLo: 7, MessagesHi: 7, Unbounded: true}} {
		if got := spanOf(&s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	line := outcome(&appliance.ReplaySubscriber{Sessions: 4, MessagesLo: 7, MessagesHi: 9})
	if line.Sessions != 4 || line.Lo != 7 || line.Hi != 9 {
		t.Errorf("%+v", line)
	}
	if line = outcome(&appliance.ReplaySubscriber{MessagesLo: 7, Unbounded: true}); line.Hi != -1 {
		t.Errorf("%+v", line)
	}
}
