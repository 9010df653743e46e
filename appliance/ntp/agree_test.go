package ntp

import (
	"errors"
	"testing"
	"time"
)

func TestMoreThanHalfOfTheServersAreBelieved(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, row := range []struct {
		why     string
		samples []sample
		best    string
		err     error
	}{
		{"nobody", nil, "", errNobody},
		{"one is believed alone", []sample{{"a", 2, time.Hour, 5 * ms}}, "a", nil},
		{"two that agree: the surer one", []sample{{"a", 2, 10 * ms, 20 * ms}, {"b", 2, 5 * ms, 3 * ms}}, "b", nil},
		{"two that do not", []sample{{"a", 2, 0, 20 * ms}, {"b", 2, time.Hour, 3 * ms}}, "", errDisagree},
		{"one of three is wrong, and sure of it", []sample{{"a", 1, time.Hour, ms}, {"b", 2, 5 * ms, 30 * ms}, {"c", 2, -5 * ms, 20 * ms}}, "c", nil},
		{"two against two", []sample{{"a", 1, 0, ms}, {"b", 1, 0, ms}, {"c", 1, time.Hour, ms}, {"d", 1, time.Hour, ms}}, "", errDisagree},
		{"a chain in which only neighbours agree is no agreement", []sample{{"a", 1, 0, 10 * ms}, {"b", 1, 15 * ms, 10 * ms}, {"c", 1, 30 * ms, 10 * ms}, {"d", 1, 45 * ms, 10 * ms}}, "", errDisagree},
		{"that they only touch is enough", []sample{{"a", 1, 0, 10 * ms}, {"b", 1, 20 * ms, 10 * ms}}, "a", nil},
	} {
		got, err := agree(row.samples)
		if got.server != row.best || !errors.Is(err, row.err) {
			t.Errorf("%s: %q, %v", row.why, got.server, err)
		}
	}
}

func TestAPortIsAddedWhereThereIsNone(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"t.example": "t.example:123", "192.0.2.1:1123": "192.0.2.1:1123", "2001:db8::1": "[2001:db8::1]:123", "[2001:db8::1]:9": "[2001:db8::1]:9"} {
		if got := hostPort(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
