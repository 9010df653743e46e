package appliance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A certificate that ends is among the problems of the status, and a HEALTH record each time that it gets worse, and when it holds again.
func TestACertificateThatEndsIsTold(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	problem := func(what string) *webadmin.Problem {
		return &webadmin.Problem{What: what, By: webadmin.At(d.time().Add(time.Hour))}
	}
	for _, c := range []struct {
		state webadmin.CertificateState
		what  string
	}{
		{webadmin.CertificateHolds, ""}, {webadmin.CertificateSoon, "ends within 30 days"}, {webadmin.CertificateSoon, "ends within 30 days"}, {webadmin.CertificateUrgent, "ends within 7 days"},
		{webadmin.CertificateEnded, "has ended"}, {webadmin.CertificateEnded, "has ended"}, {webadmin.CertificateHolds, ""}, {webadmin.CertificateHolds, ""},
	} {
		var p *webadmin.Problem
		if c.what != "" {
			p = problem(c.what)
		}
		d.certWatch.look(c.state, p, d.health)
		if is := slices.ContainsFunc(d.problems(), func(p webadmin.Problem) bool { return p.What == c.what }); is != (p != nil) {
			t.Errorf("%q is among the problems: %v", c.what, is)
		}
	}
	told := slices.DeleteFunc(d.told(records.KindHealth), func(text string) bool { return !strings.Contains(text, "certificate") })
	if len(told) != 4 || !strings.Contains(told[0], "30 days") || !strings.Contains(told[0], d.time().Add(time.Hour).UTC().Format(time.RFC3339)) || !strings.Contains(told[1], "7 days") || !strings.Contains(told[2], "has ended") {
		t.Errorf("%q", told)
	}
}
