package webadmin

import (
	"crypto/x509"
	"time"
)

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

// CertificateEnd says how the certificate stands that browsers are shown, and what somebody should do about it; nil: nothing. A self-signed one is made anew in its
// last month, also if nobody visits: it is a problem only where it cannot be.
func (s *Server) CertificateEnd() (CertificateState, *Problem) {
	pair, err := s.keeper.current()
	if err != nil {
		return CertificateEnded, &Problem{What: "The web admin has no certificate: " + err.Error() + ".", Meaning: "Mail is not affected. No browser comes in.", Do: "Check that the data directory is neither full nor read-only."}
	}
	state, since, by := certificateAt(pair.Leaf, s.opt.Now())
	if state == CertificateHolds {
		return state, nil
	}
	p := &Problem{Since: At(since), By: At(by), Meaning: "Mail is not affected. Once it has ended browsers warn of it, or let nobody in.", Do: "Put another one in its place: Settings, Certificate.", Link: "/settings/certificate"}
	own := !s.keeper.operators()
	if own {
		p.Do = "The box makes its own anew by itself, as soon as its clock is right and the data directory neither full nor read-only. Settings, Certificate makes it at once."
	}
	switch state {
	case CertificateEarly:
		p.What, p.Meaning = "The web admin's certificate does not hold yet.", "Mail is not affected. Browsers warn of it, or let nobody in."
		if !own {
			p.Do = "Look at the box's clock first. If that is right, put another certificate in its place: Settings, Certificate."
		}
	case CertificateSoon:
		p.What = "The web admin's certificate ends within 30 days."
	case CertificateUrgent:
		p.What = "The web admin's certificate ends within 7 days."
	case CertificateEnded:
		p.What, p.Meaning = "The web admin's certificate has ended.", "Mail is not affected. Browsers warn of it, or let nobody in."
	}
	return state, p
}

// certificateAt is how a certificate stands at a time, since when, and until when: zero for one that has ended.
func certificateAt(leaf *x509.Certificate, now time.Time) (state CertificateState, since, until time.Time) {
	switch left := leaf.NotAfter.Sub(now); {
	case now.Before(leaf.NotBefore):
		return CertificateEarly, time.Time{}, leaf.NotBefore
	case left < 0:
		return CertificateEnded, leaf.NotAfter, time.Time{}
	case left <= certificateUrgent:
		return CertificateUrgent, leaf.NotAfter.Add(-certificateUrgent), leaf.NotAfter
	case left <= certificateSoon:
		return CertificateSoon, leaf.NotAfter.Add(-certificateSoon), leaf.NotAfter
	}
	return CertificateHolds, time.Time{}, time.Time{}
}
