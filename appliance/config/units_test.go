package config

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tagOf is the allowed tag of a key of T.
func tagOf[T any](t *testing.T, key string) string {
	t.Helper()
	f, ok := fieldOf(reflect.TypeFor[T](), key)
	if !ok {
		t.Fatalf("no key %q", key)
	}
	return f.Tag.Get("allowed")
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		in   string
		want time.Duration
		err  error
	}{
		{"90s", 90 * time.Second, nil},
		{"15m", 15 * time.Minute, nil},
		{"1h30m", 90 * time.Minute, nil},
		{"7d", 168 * time.Hour, nil},
		{"0.5d", 12 * time.Hour, nil},
		{"250ms", 250 * time.Millisecond, nil},
		{"3µs", 3 * time.Microsecond, nil},
		{"0s", 0, nil},
		{"", 0, errNumber},
		{"0", 0, errNoUnit},
		{"150", 0, errNoUnit},
		{"1h30", 0, errNoUnit},
		{"h", 0, errNumber},
		{"-1h", 0, errNumber},
		{"+1h", 0, errNumber},
		{" 1h", 0, errNumber},
		{"1 h", 0, errBadUnit},
		{"1H", 0, errBadUnit},
		{"1w", 0, errBadUnit},
		{"1..5h", 0, errNumber},
		{"NaNs", 0, errNumber},
		{"9999999999999h", 0, errTooBig},
		{"50000d50000d", 0, errTooBig},
	} {
		got, err := ParseDuration(row.in)
		if got != row.want || !errors.Is(err, row.err) {
			t.Errorf("%q: %v, %v; want %v, %v", row.in, got, err, row.want, row.err)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Size{"64MiB": 64 << 20, "1.5GiB": 3 << 29, "5MB": 5_000_000, "2KB": 2000, "3KiB": 3072, "7B": 7, "1GB": 1_000_000_000} {
		if got, err := ParseSize(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "64", "64M", "64mib", "MiB", "64 MiB", "-1B", "99999999999GiB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q was accepted as %v", in, got)
		}
	}
}

func TestUnitsReadBackEqual(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(3660*day)).Draw(t, "duration"))
		if got, err := ParseDuration(FormatDuration(d)); got != d || err != nil {
			t.Fatalf("%v became %q, %v, %v", int64(d), FormatDuration(d), got, err)
		}
		s := Size(rapid.Int64Range(0, 64<<30).Draw(t, "size"))
		if got, err := ParseSize(s.String()); got != s || err != nil {
			t.Fatalf("%d became %q, %v, %v", s, s.String(), got, err)
		}
	})
	for _, d := range []time.Duration{time.Hour, day, 2 * day, 36 * time.Hour, time.Minute} {
		t.Log(FormatDuration(d))
	}
}
