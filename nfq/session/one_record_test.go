package session

import "testing"

// TestOneRecordMayHoldManyMessages: the answers to a burst by BDAT can lie in one record for each message, or in one for all, where they
// look like those to one message with more recipients: hi counts all that there is room for. Both are captured.
func TestOneRecordMayHoldManyMessages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, line string
		truth     int
	}{
		{"Exim, five messages of three recipients in chunks of 300", "24 +50:205 +3904:103,53,162,53,162,53,162,53,162,53,122 closed", 5},
		{"Exim, the same in TLS 1.3", "17 +43:198 +3890:96,46,155,46,155,46,155,46,155,46,115 +24:19 closed", 5},
		{"Postfix, five messages, one recipient of each refused", "24 +50:164 +3505:814 hung-up", 5},
		{"Postfix, two messages by BDAT and QUIT", "24 +50:164 +1433:189 hung-up", 2},
		{"Postfix, five messages by DATA, content of 800 kB among them", "24 +50:139 +123315:89 +1463338:126 +8221:126*2 +111899:126,76 hung-up", 5},
		{"Exim, three messages, two at once", "24 +50:205 +103778:77,89,108 +3229:147 closed", 3},
	} {
		var r Recording
		if err := r.parse(c.line); err != nil {
			t.Fatal(err)
		}
		if lo, hi := r.estimate(); lo > c.truth || hi < c.truth {
			t.Errorf("%s: %d..%d", c.why, lo, hi)
		}
	}
}
