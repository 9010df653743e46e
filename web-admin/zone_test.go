package webadmin

import (
	"strings"
	"testing"
	"time"
)

// Every page says in which zone its times are.
func TestPagesNameTheZoneOfTheirTimes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		loc  *time.Location
		want string
	}{{vienna, "Times are CET, UTC+01:00."}, {time.UTC, "Times are UTC."}} {
		s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }, Location: c.loc})
		if page := body(t, get(t, s, "/records", "Cookie", enter(t, s))); !strings.Contains(strings.ReplaceAll(page, "&#43;", "+"), c.want) {
			t.Errorf("the page lacks %q", c.want)
		}
	}
}
