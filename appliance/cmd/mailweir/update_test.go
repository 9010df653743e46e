package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/layout"
)

func TestStatusSaysWhatBecameOfTheLastUpdate(t *testing.T) {
	run := startRunning(t, func(*http.Request) (int, string) { return 200, `{"mode": "observe", "ready": true}` })
	status := func(argv ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(context.Background(), append([]string{"status", "--data", run.dir}, argv...), &out, &errs); code != 0 {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		return out.String()
	}
	if got := status(); strings.Contains(got, "\nupdate ") {
		t.Errorf("there was none: %s", got)
	}
	o := update.Outcome{State: update.RolledBack, From: update.Version{Version: "v1", Build: 1}, To: update.Version{Version: "v2", Build: 2}, Slot: "b",
		Time: time.Now(), Why: "self-test: a packet got no verdict in 5s"}
	if err := o.Save(run.dir); err != nil {
		t.Fatal(err)
	}
	if got := status(); !strings.Contains(got, "version v2 (build 2) was given up, version v1 (build 1) runs: self-test: a packet got no verdict in 5s") {
		t.Errorf("status: %s", got)
	}
	var both struct {
		Mode   string
		Update *update.Outcome
	}
	if err := json.Unmarshal([]byte(status("--json")), &both); err != nil || both.Mode != "observe" || both.Update == nil || both.Update.State != "rolled_back" {
		t.Errorf("JSON: %+v, %v", both, err)
	}
}

func TestAMachineWithoutSlotsSaysSo(t *testing.T) {
	for _, argv := range [][]string{{"update", "x.mwu"}, {"update", "-", "--dry-run"}, {"slots"}} {
		var out, errs bytes.Buffer
		if code := Main(context.Background(), argv, &out, &errs); code != 1 || !strings.Contains(errs.String(), "not started from an image") {
			t.Errorf("%v: exit %d, %q", argv, code, errs.String())
		}
	}
	for _, argv := range [][]string{{"update"}, {"update", "a", "b"}, {"slots", "a"}} {
		var out, errs bytes.Buffer
		if code := Main(context.Background(), argv, &out, &errs); code != 2 {
			t.Errorf("%v: exit %d, %q", argv, code, errs.String())
		}
	}
}

func TestALineForEachSlot(t *testing.T) {
	for want, s := range map[string]update.Slot{
		"version v1 (build 1), runs, active":             {About: layout.About{Version: "v1", Build: 1}, Runs: true, Active: true},
		"version v2 (build 2), on trial, starts left: 2": {About: layout.About{Version: "v2", Build: 2}, OnTrial: true, Tries: 2},
		"it is empty or was written in part":             {Fault: "it is empty or was written in part"},
	} {
		if got := slotLine(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
