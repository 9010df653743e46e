package webadmin

import "time"

// The last days of a certificate: somebody should think of another one, and then at once.
const (
	certificateSoon   = 30 * 24 * time.Hour
	certificateUrgent = 7 * 24 * time.Hour
)

// CertificateState is how long the certificate holds that browsers are shown; a greater one is worse.
type CertificateState int

// The states of a certificate.
const (
	CertificateHolds  CertificateState = iota
	CertificateEarly                   // it does not hold yet
	CertificateSoon                    // it ends within 30 days
	CertificateUrgent                  // within 7
	CertificateEnded
)

// CertificateEnd says how the certificate stands that browsers are shown, and what somebody should do about it; nil: nothing. The box's own is made anew in its
// last month, also if nobody visits, and when the clock is set by which it is wrong: it is a problem only where it cannot be.
func (s *Server) CertificateEnd() (CertificateState, *Problem) {
	c, err := s.keeper.shown()
	if err != nil {
		return CertificateEnded, &Problem{What: "The web admin has no certificate: " + err.Error() + ".", Meaning: "Mail is not affected. No browser comes in.", Do: "Check that the data directory is neither full nor read-only."}
	}
	state, since, by := certificateAt(c.NotBefore.Time, c.NotAfter.Time, s.opt.Now())
	clock := s.box.Clock()
	if state == CertificateHolds || c.SelfSigned && clock.Unset() && state < CertificateEnded && state != CertificateEarly {
		return CertificateHolds, nil
	}
	p := &Problem{Since: At(since), By: At(by), Link: "/settings/certificate"}
	switch p.Meaning = "Mail is not affected. Browsers warn, and those that have seen it before let nobody pass."; state {
	case CertificateEarly:
		p.What = "The web admin's certificate does not hold yet."
	case CertificateSoon, CertificateUrgent:
		p.What, p.Meaning = "The web admin's certificate ends within 30 days.", "Mail is not affected. From then on browsers warn, and those that have seen it before let nobody pass."
		if state == CertificateUrgent {
			p.What = "The web admin's certificate ends within 7 days."
		}
	case CertificateEnded:
		p.What = "The web admin's certificate has ended."
	}
	switch p.Do = "Put another one in its place: Settings, Certificate."; {
	case c.SelfSigned && !clock.right():
		p.Do = "It is made anew as soon as somebody keeps the clock; or at once: Settings, Certificate."
	case c.SelfSigned:
		p.Do = "The box makes its own anew by itself, and could not: check that the data directory is neither full nor read-only. Settings, Certificate tries it again."
	case !clock.right(), state == CertificateEarly:
		p.Do = "Look at the box's clock first. If that is right, put another one in its place: Settings, Certificate."
	}
	return state, p
}

// certificateAt is how a certificate stands at a time, since when, and until when: zero for one that has ended.
func certificateAt(begins, ends, now time.Time) (state CertificateState, since, until time.Time) {
	switch left := ends.Sub(now); {
	case now.Before(begins):
		return CertificateEarly, time.Time{}, begins
	case left < 0:
		return CertificateEnded, ends, time.Time{}
	case left <= certificateUrgent:
		return CertificateUrgent, ends.Add(-certificateUrgent), ends
	case left <= certificateSoon:
		return CertificateSoon, ends.Add(-certificateSoon), ends
	}
	return CertificateHolds, time.Time{}, time.Time{}
}
