package figures

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		s    Spread
		want string
	}{
		{nil, "not measured"},
		{Spread{3}, "3.00 / 3.00 / 3.00"},
		{Spread{30, 1000, 0.5}, "0.50 / 30.0 / 1000"},
		{Spread{1, 2, 3, 4}, "1.00 / 2.50 / 4.00"},
	} {
		if got := row.s.String(); got != row.want {
			t.Errorf("%v: %s, want %s", []float64(row.s), got, row.want)
		}
	}
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(i+1)*time.Microsecond)
	}
	for part, want := range map[float64]float64{0.5: 100, 0.99: 198, 1: 200} {
		if got := Quantile(all, part); got != want {
			t.Errorf("quantile %v: %v, want %v", part, got, want)
		}
	}
}
