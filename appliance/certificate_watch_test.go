package appliance

import (
	"context"
	"errors"
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

// The box looks at the certificate that its web admin shows, from the start on.
func TestTheCertificateThatIsShownIsLookedAt(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans+"admin: {tls: {cert_file: cert.pem, key_file: key.pem}}\n", homeList)
	certPEM, keyPEM, _ := pairFor(t, "box.isp.example")
	d.write("cert.pem", string(certPEM))
	d.write("key.pem", string(keyPEM))
	end := serve(t, d, "127.0.0.1:0")
	d.pass(85 * 24 * time.Hour) // of 90
	ended := background(t.Context(), func(ctx context.Context) error { return d.certWatch.Run(ctx, d.web, d.health) })
	for until := time.Now().Add(20 * time.Second); d.certWatch.problem.Load() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nobody looks at it")
		}
	}
	if err := errors.Join(ended(), end()); err != nil {
		t.Error(err)
	}
	if p := d.certWatch.problem.Load(); !strings.Contains(p.What, "within 7 days") || !p.By.Equal(opened.Add(90*24*time.Hour)) {
		t.Errorf("%+v", p)
	}
}
