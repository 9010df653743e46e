package webadmin

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// POST /what-if takes a configuration as text or as an object, and says what is wrong with either.
func TestWhatIfOverTheAPI(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	for _, row := range []struct {
		why, body string
		status    int
		says      string
	}{
		{"a text", `{"config": "mode: enforce\nplans: []\n", "days": 7}`, http.StatusOK, `"config":"mode: enforce\nplans: []\n"`},
		{"an object", `{"config": {"mode": "enforce"}, "days": 1}`, http.StatusOK, `{\"mode\": \"enforce\"}`},
		{"nothing", `{"days": 7}`, http.StatusBadRequest, `"config","message":"is missing"`},
		{"a list", `{"config": [], "days": 7}`, http.StatusBadRequest, "must be a configuration"},
		{"no days", `{"config": "mode: enforce"}`, http.StatusBadRequest, `"days","message":"is missing"`},
		{"too many days", `{"config": "mode: enforce", "days": 4000}`, http.StatusBadRequest, "from 1 to 400"},
		{"half a day", `{"config": "mode: enforce", "days": 0.5}`, http.StatusBadRequest, "whole number"},
		{"what nobody asked for", `{"config": "mode: enforce", "days": 7, "dayz": 8}`, http.StatusBadRequest, "dayz"},
		{"no configuration", `{"config": "bad", "days": 7}`, http.StatusBadRequest, `{"field":"plans[0].name","line":7,"message":"is missing"}`},
		{"another one is under way", `{"config": "busy: true", "days": 7}`, http.StatusConflict, "one at a time"},
		{"it cannot be tried", `{"config": "refused", "days": 7}`, http.StatusBadRequest, `{"field":"days","message":"take fewer days"}`},
		{"there is no journal", `{"config": "no journal", "days": 7}`, http.StatusServiceUnavailable, "no journal in this life"},
		{"it fails", `{"config": "fails", "days": 7}`, http.StatusInternalServerError, "the box's log says why"},
		{"100 KB", `{"config": "` + strings.Repeat("# x", 33000) + `", "days": 7}`, http.StatusOK, "# x"},
		{"2 MB", `{"config": "` + strings.Repeat("x", 2<<20) + `", "days": 7}`, http.StatusRequestEntityTooLarge, "too large"},
	} {
		a := ask(t, s, "POST", "/api/v1/what-if", row.body, auth...)
		if answer := body(t, a); a.StatusCode != row.status || !strings.Contains(answer, row.says) {
			t.Errorf("%s: %s %.300s", row.why, a.Status, answer)
		} else if strings.Contains(answer, "unknown column") {
			t.Errorf("%s: an operator reads what went wrong inside the box: %.300s", row.why, answer)
		}
	}
}
