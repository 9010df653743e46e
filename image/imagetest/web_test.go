//go:build qemu

package imagetest

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/image/layout"
)

// uploads sends an update to the web admin.
func (v *visitor) uploads(t *testing.T, file string) (status int, said string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	patient := v.http
	patient.Timeout = patience
	a, err := patient.Post(v.base+"/api/v1/update", "application/octet-stream", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

// TestUpdatesByTheWebAdmin has an operator at a desk update a box, and then reset it.
func TestUpdatesByTheWebAdmin(t *testing.T) {
	w := newWorks(t)
	good := w.update("v2", 200, *program)
	b := newBox(t, w)
	running := b.disk.sum(t, layout.SlotA)
	if status, said := b.operator.uploads(t, changed(t, good, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })); status != http.StatusUnprocessableEntity || !strings.Contains(said, "the signed manifest says") {
		t.Errorf("one byte changed: %d %s", status, said)
	}
	if status, said := b.operator.uploads(t, good); status != http.StatusOK || !strings.Contains(said, `"state":"waits"`) {
		t.Fatalf("%d %s", status, said)
	}
	if got := b.disk.sum(t, layout.SlotA); got != running {
		t.Errorf("the slot that runs has SHA-256 %s, and had %s", got, running)
	}
	from := len(b.machine.said())
	var done any
	if err := b.operator.api("POST", "update/reboot", nil, &done); err != nil {
		t.Fatal(err)
	}
	b.machine.waitFor(t, from, "slot b is on trial; starts left after this one: 1")
	b.machine.waitFor(t, from, "update: version v2 (build 200) came up healthy and stays")
	b.operator.comes(t, b.login)
	b.operator.recorded(t, "update committed: version v2 (build 200)")
	var now struct {
		Running struct{ Build int64 }
		Last    struct{ State string }
	}
	if err := b.operator.api("GET", "update", nil, &now); err != nil || now.Running.Build != 200 || now.Last.State != "committed" {
		t.Errorf("%+v, %v", now, err)
	}

	from = len(b.machine.said())
	if err := b.operator.api("POST", "factory-reset", map[string]any{"now": b.login.Get("password"), "confirm": "erase everything", "anyway": false}, &done); err != nil {
		t.Fatal(err)
	}
	b.machine.waitFor(t, from, "factory reset: they are erased")
	b.machine.waitFor(t, from, "governing, mode observe")
	b.machine.waitFor(t, from, "; setup code ")
	if version, slot, n := b.runs(from); version != "v2" || slot != "b" || n != 1 {
		t.Errorf("after the reset version %s runs from slot %s, at start %d", version, slot, n)
	}
	if to, err := b.operator.form("/login", b.login); err == nil && to != "/setup" {
		t.Errorf("the user of before comes to %q", to)
	}
}
