package webadmin

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestEvidenceIsHandedOut(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.subs[0].Case = "00K1Q"
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	a := ask(t, s, "GET", "/api/v1/cases/ookiq/evidence.zip", "", auth...)
	if text := body(t, a); a.StatusCode != 200 || text != "PK of 00K1Q" || a.Header.Get("Content-Type") != "application/zip" ||
		a.Header.Get("Content-Disposition") != `attachment; filename="case-00K1Q.zip"` {
		t.Errorf("%s %v %q", a.Status, a.Header, text)
	}
	if box.by[0] != "admin.token 127.0.0.1 evidence 00K1Q" {
		t.Errorf("by %q", box.by)
	}
	if a := ask(t, s, "GET", "/api/v1/cases/00K1Q/evidence.zip", ""); a.StatusCode != 401 {
		t.Errorf("without a token: %s", a.Status)
	}
	if a := ask(t, s, "GET", "/api/v1/cases/99999/evidence.zip", "", auth...); a.StatusCode != 404 {
		t.Errorf("of no case: %s", a.Status)
	}
	box.failing = errors.New("read the journal: input/output error")
	if a := ask(t, s, "GET", "/api/v1/cases/00K1Q/evidence.zip", "", auth...); a.StatusCode != 500 || !strings.Contains(body(t, a), "input/output error") {
		t.Errorf("of a broken disk: %s", a.Status)
	}
}
