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
				"as sent":                         string(line),
				"without priority and version":    string(line[strings.Index(string(line), ">1 ")+3:]),
				"without its text":                string(line[:len(line)-len(r.Text)]),
				"without its text, its space too": string(line[:len(line)-len(r.Text)-1]),
				"with another form of its UTC":    strings.Replace(string(line), stamp, strings.TrimSuffix(stamp, "Z")+"000+00:00", 1),
				"in another zone":                 strings.Replace(string(line), stamp, r.Time.Add(3600e9).Format("2006-01-02T15:04:05.000")+"+01:00", 1),
				"with a carriage return":          string(line) + "\r",
			} {
				if strings.Contains(why, "its text") && strings.Contains(string(line), "\uFEFF") {
					continue // the mark counts for the length
				}
				l, err := ParseLine([]byte(stored))
				if err != nil {
					t.Fatalf("%s, %s: %v", name, why, err)
				}
				if l.Seq != r.Seq || l.Kind() != r.Kind || !l.Time.Equal(r.Time) || l.Hash() != r.HexHash() || l.Hash() != next.Value("prev") ||
					l.Value("event") != r.Value("event") || l.TextMissing() != strings.Contains(why, "its text") || l.TextKept() == l.TextMissing() {
					t.Errorf("%s, %s: %+v", name, why, l)
				}
			}
			for why, padded := range map[string]string{"a space behind": string(line) + " ", "two": string(line) + "  ", "a tab": string(line) + "\t", "more": string(line) + " x",
				"a space before": strings.TrimSuffix(string(line), r.Text) + " " + r.Text, "a mark": strings.TrimSuffix(string(line), r.Text) + "\uFEFF\uFEFF" + r.Text} {
				if l, err := ParseLine([]byte(padded)); err != nil || l.TextKept() || l.TextMissing() {
					t.Errorf("%s, its text with %s: %v, %q counts as kept", name, why, err, l.Text)
				}
			}
			for why, quoted := range map[string]string{"words": "Nov 21 03:12:07 relay " + string(line), "a space": " " + string(line), "another record": string(next.AppendLine(nil, localFour)) + string(line)} {
				if l, err := ParseLine([]byte(quoted)); err == nil && l.Seq == r.Seq || err != nil && !errors.Is(err, ErrNoRecord) {
					t.Errorf("%s with %s before it: number %d, %v", name, why, l.Seq, err)
				}
				if at := Quoted.FindIndex([]byte(quoted)); at == nil {
					t.Errorf("%s with %s before it is not found", name, why)
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
