package records

import (
	"bytes"
	"testing"
	"time"
)

// A record that was written down is the same record again, whatever a client made up for it.
func TestARecordIsRecalled(t *testing.T) {
	t.Parallel()
	c, err := OpenChain(t.TempDir()+"/records.state", "box-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{
		Session(SessionFacts{Subscriber: "S-1", SNI: `quo"te]\`, EndReason: "fin"}),
		Health(HealthFacts{What: "store", Detail: "\x00\xff=\"]"}),
		Audit(AuditFacts{Who: "admin", What: "release"}),
	} {
		r := c.Append(e, time.Unix(1e9, 123e6))
		got, err := Recall(r.Canonical(), r.Severity, r.Text)
		if err != nil {
			t.Fatal(err)
		}
		if line := got.AppendLine(nil, 4); !bytes.Equal(line, r.AppendLine(nil, 4)) || got.Seq != r.Seq || got.Hash() != r.Hash() || !got.Time.Equal(r.Time) {
			t.Errorf("recalled as\n%s\nwas\n%s", line, r.AppendLine(nil, 4))
		}
	}
}

func FuzzRecall(f *testing.F) {
	c, err := OpenChain(f.TempDir()+"/records.state", "box-1")
	if err != nil {
		f.Fatal(err)
	}
	good := c.Append(Session(SessionFacts{Subscriber: "S-1", SNI: `\"]`}), time.Unix(1e9, 0))
	f.Add(good.Canonical())
	f.Add([]byte(`HEALTH 2026-01-01T00:00:00.000Z [mailweir@32473 seq="1" what="\"]`))
	f.Add([]byte(`HEALTH 2026-01-01T00:00:00.000Z [mailweir@32473 seq="1"x]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Recall(b, Info, "")
		if err != nil {
			return
		}
		if r.Seq == 0 || !bytes.Equal(r.Canonical(), b) {
			t.Errorf("%q: %+v", b, r)
		}
		r.Params()
		r.AppendLine(nil, 4)
	})
}
