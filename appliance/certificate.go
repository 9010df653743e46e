package appliance

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// certificateLook is the time between two looks at the web admin's certificate.
const certificateLook = 5 * time.Second

// certificateWatch tells of a certificate that ends: a HEALTH record each time that it gets worse, and one when it holds again.
type certificateWatch struct {
	problem atomic.Pointer[webadmin.Problem] // nil: there is none
	told    webadmin.CertificateState        // only Run uses it
}

// Run looks until ctx ends. It waits for the disk where the box's own certificate is made anew.
func (w *certificateWatch) Run(ctx context.Context, web front, h *health) error {
	t := time.NewTicker(certificateLook)
	defer t.Stop()
	for {
		state, problem := web.CertificateEnd()
		w.look(state, problem, h)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// look is called with how the certificate stands.
func (w *certificateWatch) look(state webadmin.CertificateState, p *webadmin.Problem, h *health) {
	w.problem.Store(p)
	was := w.told
	if w.told = state; p == nil {
		h.end("certificate")
		return
	}
	if state <= was {
		return // as it was, or another one that is less bad
	}
	f := records.HealthFacts{What: "certificate", Detail: p.What}
	if !p.By.IsZero() {
		f.Detail += " (" + p.By.UTC().Format(time.RFC3339) + ")"
	}
	if !h.begin(f) { // it was bad already
		h.tell(f)
	}
}
