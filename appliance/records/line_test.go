package records

import (
	"errors"
	"strings"
	"testing"
)

// What a line says is what the record was, and its hash is what the next record carries.
func TestLinesGiveTheirRecordsBack(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	evil := `a"] [x@1 y="z\` + "\r\n\x00\xff漢"
	c.Append(samples()["audit"], at)
	for name, e := range samples() {
		r, next := c.Append(e, at), Record{}
		for _, text := range []string{r.Text, evil} {
			e.Text = text
			r, next = c.Append(e, at), c.Append(samples()["audit"], at)
			line := r.AppendLine(nil, localFour)
			stamp := strings.Fields(string(line))[1]
			for why, stored := range map[string]string{
				"as sent":                      string(line),
				"with words before it":         "Nov 21 03:12:07 relay " + string(line),
				"without its text":             string(line[:len(line)-len(r.Text)]),
				"with another form of its UTC": strings.Replace(string(line), stamp, strings.TrimSuffix(stamp, "Z")+"000+00:00", 1),
				"in another zone":              strings.Replace(string(line), stamp, r.Time.Add(3600e9).Format("2006-01-02T15:04:05.000")+"+01:00", 1),
				"with a carriage return":       string(line) + "\r",
			} {
				if why == "without its text" && strings.Contains(string(line), "\uFEFF") {
					continue // the mark counts for the length
				}
				l, err := ParseLine([]byte(stored))
				if err != nil {
					t.Fatalf("%s, %s: %v", name, why, err)
				}
				if l.Seq != r.Seq || l.Kind() != r.Kind || !l.Time.Equal(r.Time) || l.Hash() != r.HexHash() || l.Hash() != next.Value("prev") || !l.TextKept() ||
					l.Value("event") != r.Value("event") {
					t.Errorf("%s, %s: %+v", name, why, l)
				}
			}
			l, err := ParseLine([]byte(strings.Replace(string(line), r.Text[len(r.Text)-1:], "#", -1)))
			if err == nil && l.TextKept() && l.Hash() == r.HexHash() {
				t.Errorf("%s: a changed text is not noticed", name)
			}
		}
	}
}

// A line that is cut or bent at any byte is a record with another hash, or none, or one with another text; and never a panic.
func TestBentLinesAreNoticed(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	c.Append(samples()["audit"], at)
	r := c.Append(samples()["decision"], at)
	line := r.AppendLine(nil, localFour)
	begin := strings.Index(string(line), ">1 ") + 3
	host := strings.Index(string(line), "box-1 ")
	for i := begin; i < len(line); i++ {
		if i >= host && i < host+len("box-1") {
			continue // which the chain does not hold
		}
		bent := append([]byte(nil), line...)
		bent[i] ^= 1
		l, err := ParseLine(bent)
		if err == nil && l.Hash() == r.HexHash() && l.TextKept() {
			t.Errorf("byte %d of %s", i, bent)
		}
		l, err = ParseLine(line[:i])
		if err == nil && l.Hash() == r.HexHash() && len(l.Text) > 0 && l.TextKept() {
			t.Errorf("cut at %d", i)
		}
	}
	for _, other := range []string{"", "x", "<166>1 2026-11-21T03:12:07.123Z h sshd - - - hello", "<13>Nov 21 03:12:07 h mailweir: ready"} {
		if _, err := ParseLine([]byte(other)); !errors.Is(err, ErrNoRecord) {
			t.Errorf("%q: %v", other, err)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`<166>1 2026-11-21T03:12:07.123Z box-1 mailweir - SESSION [mailweir@32473 seq="7" prev="ab" box="b\"\]"] text`))
	f.Add([]byte(`[mailweir@32473 seq="1" x="\`))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, err := ParseLine(line)
		if err != nil {
			return
		}
		l.Hash()
		l.TextKept()
		l.Value("prev")
		if l.Seq == 0 {
			t.Error("a record without a number")
		}
	})
}
