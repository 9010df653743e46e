package sources

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// ja4 of the n-th TLS client; how varies what one client varies by itself (SNI, resumption).
func ja4(n int, how ...string) string {
	return fmt.Sprintf("t13%s1516h2_%012x_02713d6af862", append(how, "d")[0], n+1)
}

// visit is sessions of one TLS client, one each time.
type visit struct {
	client int
	at     []time.Duration
}

func every(step, from, until time.Duration) (all []time.Duration) {
	for ; from <= until; from += step {
		all = append(all, from)
	}
	return all
}

func TestWhatLooksLikeMany(t *testing.T) {
	t.Parallel()
	const day, hour, minute = 24 * time.Hour, time.Hour, time.Minute
	six := func(at ...time.Duration) (all []visit) {
		for i := range 6 {
			all = append(all, visit{i, at})
		}
		return all
	}
	var inventor []visit
	for i := range 2000 {
		inventor = append(inventor, visit{i, []time.Duration{time.Duration(i) * minute / 2}})
	}
	var crowd []visit
	for i := range 60 {
		crowd = append(crowd, visit{5000 + i, every(hour+time.Duration(i)*minute, time.Duration(i)*minute, day)})
	}
	for _, c := range []struct {
		why    string
		visits []visit // in the order of time
		then   []visit // and these when the clock was set
		asked  time.Duration
		crowd  string // the numbers
	}{
		{"nobody", nil, nil, 0, ""},
		{"a mail server: one client to send, one of its newsletters, all day", []visit{{0, every(minute, 0, day)}, {1, every(hour, 0, day)}}, nil, day, ""},
		{"a home with four computers", []visit{{0, every(hour, 0, day)}, {1, every(hour, 0, day)}, {2, every(hour, 0, day)}, {3, every(hour, 0, day)}}, nil, day, ""},
		{"a bot that invents a client each time", inventor, nil, 1000 * minute, ""},
		{"five that come back, and a bot that invents", append([]visit{{3000, every(hour, 0, day)}, {3001, every(hour, 0, day)}, {3002, every(hour, 0, day)}, {3003, every(hour, 0, day)}, {3004, every(hour, 0, day)}}, inventor...), nil, day, ""},
		{"six that come back", six(0, 11*minute), nil, 11 * minute, "6 6"},
		{"six, each once", six(0), nil, 0, ""},
		{"six, each twice within a moment: one run of a test suite", six(0, minute), nil, minute, ""},
		{"six in the morning, asked in the evening", six(0, 11*minute), nil, 11*minute + hour, ""},
		{"six over the day, three of them now", append(six(0, hour), visit{0, []time.Duration{6 * hour}}, visit{1, []time.Duration{6 * hour}}, visit{2, []time.Duration{6 * hour}}), nil, 6*hour + 59*minute, "6 3"},
		{"six over the day, two of them now", append(six(0, hour), visit{0, []time.Duration{6 * hour}}, visit{1, []time.Duration{6 * hour}}), nil, 6 * hour, ""},
		{"six of which three were there yesterday only", append(six(0, hour), visit{0, []time.Duration{26 * hour}}, visit{1, []time.Duration{26 * hour}}, visit{2, []time.Duration{26 * hour}}), nil, 26 * hour, ""},
		{"sixty, all day long: eight are kept", crowd, nil, day, "8 8"},
		{"sixty, all day long, and a bot that invents", append(inventor, crowd...), nil, day, "8 8"},
		{"the clock goes back for a while", six(0, 11*minute), six(-day, -day+minute), -day + minute, "6 6"},
		{"the clock begins in 1970 and is then set", six(-56*365*day, -56*365*day+hour), six(0), 0, ""},
	} {
		b := New()
		b.Session(home, "S", false, dest, start)
		for _, visits := range [][]visit{c.visits, c.then} {
			for _, a := range inOrder(visits) {
				b.Ended(home, "S", Facts{JA4: ja4(a.client)}, start.Add(a.at))
			}
		}
		crowds := b.Crowds(start.Add(c.asked))
		if c.crowd == "" {
			if len(crowds) != 0 {
				t.Errorf("%s: %+v", c.why, crowds)
			}
			continue
		}
		var all, recent int
		if len(crowds) != 1 || crowds[0].Subscriber != "S" {
			t.Errorf("%s: %+v", c.why, crowds)
		} else if _, err := fmt.Sscanf(crowds[0].Crowd, "%d different TLS clients came back within 24 h, %d of them were there in the last hour", &all, &recent); err != nil || fmt.Sprint(all, " ", recent) != c.crowd {
			t.Errorf("%s: %q, want %s", c.why, crowds[0].Crowd, c.crowd)
		}
	}
}

type arrival struct {
	client int
	at     time.Duration
}

func inOrder(visits []visit) (all []arrival) {
	for _, v := range visits {
		for _, at := range v.at {
			all = append(all, arrival{v.client, at})
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	return all
}

func TestOneClientVariesByItself(t *testing.T) {
	t.Parallel()
	b := New()
	for _, s := range []string{"t13d1516h2_8daaf6152771_02713d6af862", "t13i1515h2_8daaf6152771_02713d6af862", "t13d1517h2_8daaf6152771_b1ff8ab2d16f"} {
		if b.stack(s) != b.stack("t13d1516h2_8daaf6152771_02713d6af862") {
			t.Errorf("%s is another client", s)
		}
	}
	if b.stack("") != 0 || b.stack(ja4(1)) == b.stack(ja4(2)) || b.stack("odd") == 0 || b.stack("odd") == b.stack("other") || b.stack("t13d0000h2_000000000000_000000000000") == 0 {
		t.Error("what is different is not told apart")
	}
	if b.stack("a_"+strings.Repeat("g", 12)+"_b") == b.stack("a_"+strings.Repeat("h", 12)+"_b") {
		t.Error("what is no hexadecimal number is all the same")
	}
}
