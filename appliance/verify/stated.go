package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/records"
)

// What records say is missing, or given twice, and of whom.

// stated is what a record says is missing.
type stated struct {
	lost records.Ranges
	by   uint64
	what string
	may  bool     // it is in doubt
	of   []string // as Item.LostOf
}

// twice is a record that says that numbers behind one may have been given before.
type twice struct{ by, after uint64 }

// concerns tells whether the log of a collector may lack them; "": it is not known whose log it is.
func (s *stated) concerns(collector string) bool {
	return collector == "" || len(s.of) == 0 || slices.Contains(s.of, collector)
}

// words are who says so.
func (s *stated) words() string {
	if s.may {
		return fmt.Sprintf("record %d says that this may be (%s, doubt): the collector had not shown that it had read them, and they were not sent again", s.by, s.what)
	}
	return fmt.Sprintf("record %d says so (%s)", s.by, s.what)
}

// again says in a finding of a number that stands for two records why that may be.
func (b *chain) again(f *Finding) {
	if f.Kind != Conflict || f.Box != b.box {
		return
	}
	for _, t := range b.twice {
		if words := fmt.Sprintf("record %d says that numbers behind %d may have been given before (chain_restart): the machine stopped without warning", t.by, t.after); t.after < f.First && f.cause == "" {
			f.Text, f.cause = f.Text+"; "+words, words
		}
	}
}

// unsure notes that losses of some collectors were taken for a reason, where it is not known whose log it is.
func (c *Checker) unsure(of []string) {
	if !c.log || c.collector != "" {
		return
	}
	if c.others == nil {
		c.others = map[string]bool{}
	}
	for _, name := range of {
		c.others[name] = true
	}
}

// statedBy says which records tell that all these numbers are missing, or may be, where a collector's log lacks them, the last of them why, and of which collectors they tell it; "" if
// they are not all told.
func (b *chain) statedBy(from, to uint64, collector string) (words, why string, of []string) {
	var by []string
	for next := from; ; {
		found := false
		for _, s := range b.stated {
			if !s.concerns(collector) {
				continue
			}
			for i := 0; i+1 < len(s.lost) && !found; i += 2 {
				if s.lost[i] <= next && next <= s.lost[i+1] {
					if word := s.words(); !slices.Contains(by, word) {
						by, of = append(by, word), append(of, s.of...)
					}
					if s.lost[i+1] >= to {
						return strings.Join(by, ", "), s.what, of
					}
					next, found = s.lost[i+1]+1, true
				}
			}
			if found {
				break
			}
		}
		if !found {
			return "", "", nil
		}
	}
}
