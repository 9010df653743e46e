package webadmin

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestCollectorsAreTested(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	a := ask(t, s, "POST", "/api/v1/syslog/test", "", "Authorization", "Bearer "+tokenOf(t, s))
	var got list[SyslogResult]
	if err := json.NewDecoder(a.Body).Decode(&got); a.StatusCode != 200 || err != nil {
		t.Fatalf("%s: %v", a.Status, err)
	}
	if want := box.TestSyslog(t.Context(), "nobody"); !slices.Equal(got.Items, want) {
		t.Errorf("got %+v, want %+v", got.Items, want)
	}
	if box.by[0] != "admin.token 127.0.0.1 syslog_test" {
		t.Errorf("by %q", box.by)
	}
	if a := ask(t, s, "POST", "/api/v1/syslog/test", ""); a.StatusCode != 401 {
		t.Errorf("without a token: %s", a.Status)
	}
}
