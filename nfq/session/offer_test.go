package session

import (
	"bytes"
	"slices"
	"testing"
)

// TestTheServersOfferIsItsOwnWord: what the client asks for, offered or not, changes nothing about what the server offers.
func TestTheServersOfferIsItsOwnWord(t *testing.T) {
	t.Parallel()
	greeted := func() *dialogue { return newDialogue().s("220 mx.example ESMTP\n") }
	listed := func(lines string) *dialogue { return greeted().c("EHLO x\n").s(lines) }
	const with, without = "250-mx.example\n250-STARTTLS\n250 DSN\n", "250-mx.example\n250-SIZE 1000\n250 DSN\n"
	for _, row := range []struct {
		why  string
		talk *dialogue
		want Offer
		how  StartTLS
	}{
		{"the last line of the list", listed("250-mx.example\n250-SIZE 1000\n250 STARTTLS\n"), IsOffered, Offered},
		{"in the middle, in lower case", listed("250-mx.example\n250-starttls\n250 DSN\n"), IsOffered, Offered},
		{"not in the list", listed(without), NotOffered, StartTLSNone},
		{"asked for all the same, and refused", listed(without).c("STARTTLS\n").s("502 no\n"), NotOffered, Refused},
		{"asked for all the same, and accepted", listed(without).c("STARTTLS\n").s("220 go\n"), NotOffered, Accepted},
		{"asked for, and no answer", listed(without).c("STARTTLS\n"), NotOffered, Asked},
		{"asked for without EHLO", greeted().c("STARTTLS\n").s("220 go\n"), OfferUnknown, Accepted},
		{"asked for before everything", newDialogue().c("STARTTLS\n").s("220 mx\n").s("503 EHLO first\n"), OfferUnknown, Refused},
		{"asked for together with EHLO", greeted().c("EHLO x\nSTARTTLS\n").s(without + "502 no\n"), NotOffered, Refused},
		{"offered and not wanted", listed(with).c("QUIT\n").s("221 bye\n"), IsOffered, Offered},
		{"offered, asked for, refused", listed(with).c("STARTTLS\n").s("454 later\n"), IsOffered, Refused},
		{"HELO has no list", greeted().c("HELO x\n").s("250 mx.example\n"), OfferUnknown, StartTLSNone},
		{"an answer of many lines to HELO", greeted().c("HELO x\n").s("250-mx.example\n250 welcome\n"), OfferUnknown, StartTLSNone},
		{"HELO first, then EHLO", greeted().c("HELO x\n").s("250 mx.example\n").c("EHLO x\n").s(with), IsOffered, Offered},
		{"an empty list", listed("250 mx.example\n"), NotOffered, StartTLSNone},
		{"an empty list, with a greeting", listed("250 mx.example at your service\n"), NotOffered, StartTLSNone},
		{"an empty list, and a full one after it", listed("250 mx.example\n").c("EHLO y\n").s(with), IsOffered, Offered},
		{"a word alone is the server's name", listed("250 STARTTLS\n"), NotOffered, StartTLSNone},
		{"an EHLO that some servers do not see, and the answer to another command", greeted().raws(Up, "NOOP\nEHLO x\r\n").s("250 ok\n").c("RSET\n").s("250 ok\n"), OfferUnknown, StartTLSNone},
		{"the same, and it is seen", greeted().raws(Up, "NOOP\nEHLO x\r\n").s("250 ok\n" + without), NotOffered, StartTLSNone},
		{"EHLO refused", listed("502 what\n"), OfferUnknown, StartTLSNone},
		{"EHLO refused in many lines", listed("550-go\n550 away\n"), OfferUnknown, StartTLSNone},
		{"EHLO refused, then HELO", listed("502 what\n").c("HELO x\n").s("250 mx.example\n"), OfferUnknown, StartTLSNone},
		{"an answer of one line to another command", greeted().c("RSET\n").s("250 ok\n"), OfferUnknown, StartTLSNone},
		{"the first line is the server's name", listed("250-STARTTLS at your service\n250 DSN\n"), NotOffered, StartTLSNone},
		{"a word that only begins like it", listed("250-mx.example\n250-STARTTLSX\n250 XXXXXXXA\n"), NotOffered, StartTLSNone},
		{"many lines to another command", greeted().c("VRFY all\n").s("250-a@mx.example\n250 b@mx.example\n"), OfferUnknown, StartTLSNone},
		{"many lines to another command, after the list", listed(with).c("EXPN all\n").s("250-a@mx.example\n250 b@mx.example\n"), IsOffered, Offered},
		{"two EHLOs, two answers", listed(without).c("EHLO y\n").s(with), IsOffered, Offered},
		{"the same the other way round", listed(with).c("EHLO y\n").s(without), IsOffered, Offered},
		{"the list is not read to its end", greeted().c("EHLO x\n").s("250-mx.example\n250-SIZE 1000\n"), OfferUnknown, StartTLSNone},
		{"inside TLS nobody reads", listed(without).c("STARTTLS\n").s("220 go\n").handshake(trusting(), trusting()), NotOffered, Accepted},
	} {
		for piece, steps := range map[string][]step{"whole": row.talk.steps, "a byte each": cut(row.talk.steps, 1), "doubled": doubled(row.talk.steps)} {
			if f := replay(Options{}, steps, nil).facts; f.Offer != row.want || f.StartTLS != row.how {
				t.Errorf("%s, %s: offer %d, %v; want %d, %v", row.why, piece, f.Offer, f.StartTLS, row.want, row.how)
			}
		}
	}
}

// TestAnOfferThatWasNotReadWholeSaysNothing: a hole may have taken the word.
func TestAnOfferThatWasNotReadWholeSaysNothing(t *testing.T) {
	t.Parallel()
	d := newDialogue().s("220 mx.example ESMTP\n").c("EHLO x\n").s("250-mx.example\n").s("250-STARTTLS\n").s("250 DSN\n").c("QUIT\n").s("221 bye\n").close()
	last := slices.IndexFunc(d.steps, func(st step) bool { return bytes.Contains(st.seg.Payload, []byte("DSN")) })
	for i, st := range d.steps {
		if len(st.seg.Payload) == 0 {
			continue
		}
		f := replay(Options{}, append(append([]step(nil), d.steps[:i]...), d.steps[i+1:]...), nil).facts
		if f.Gaps == 0 {
			t.Fatalf("without segment %d there is no gap", i)
		}
		want := OfferUnknown
		if i > last { // the list was whole
			want = IsOffered
		}
		if f.Offer != want {
			t.Errorf("without segment %d (%q) the offer is %d, want %d", i, st.seg.Payload, f.Offer, want)
		}
	}
}
