package records

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// rsyslogTakes is what a rsyslog 8.2302 with its default maxMessageSize took whole over each transport.
const rsyslogTakes = 8096

// No record's line is longer than MaxLine, whatever anybody chose, and one that was shortened is whole: it can be read, and its chain fits. What is short in it stays.
func TestNoLineIsTooLong(t *testing.T) {
	t.Parallel()
	for _, filling := range []string{"a", `"`, `]\\`, "é", "\u2028", "𝄞x", "\x00\xff"} {
		long := strings.Repeat(filling, 64<<10/len(filling))
		c, err := OpenChain(t.TempDir()+"/records.state", "box-1")
		if err != nil {
			t.Fatal(err)
		}
		c.SetPolicy("enforce", "0123456789abcdef")
		all := samples()
		all["a hostile session"] = Session(SessionFacts{Subscriber: long, Plan: long, Binding: long, StartTLS: long, TLS: long, TLSVersion: long, JA4: long, JA3: long, SNI: long, Handshake: long,
			Alert: long, EndReason: long})
		all["a long audit"] = Audit(AuditFacts{Who: long, From: long, What: long, Object: long, Before: long, After: long})
		seqs := strings.TrimSuffix(strings.Repeat("1-9,", 250), ",")
		all["a long health"] = Health(HealthFacts{What: long, Target: long, Subscriber: long, Count: 7, FirstSeq: 1, LastSeq: 9, Seqs: seqs, Doubt: seqs, Detail: long})
		longest := 0
		var made []Record
		for why, e := range all {
			r := c.Append(e, at)
			made = append(made, r)
			line := r.AppendLine(nil, 23)
			longest = max(longest, len(line))
			l, err := ParseLine(line)
			if err != nil || l.Seq != r.Seq || l.Hash() != r.HexHash() || !l.TextKept() || !utf8.Valid(line) {
				t.Errorf("%q, %s: %v: %.200q", filling, why, err, line)
			}
			if e.Kind == KindHealth && why == "a long health" && (r.Value("seqs") != seqs || r.Value("doubt") != seqs || r.Value("count") != "7") {
				t.Errorf("%q: the numbers were cut: %q", filling, r.Value("seqs"))
			}
		}
		linked(t, made)
		if longest > min(MaxLine, rsyslogTakes) || longest < MaxLine-256 {
			t.Errorf("%q: the longest line has %d bytes", filling, longest)
		}
	}
}
