//go:build qemu

package imagetest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// startsMost is how many starts in a row may end soon after governing began (appliance/boot).
const startsMost = 5

// A box whose power fails again and again soon after it began to govern comes to safe mode: mail passes, the recovery page says why, and has it govern again. Its power button ends it in order.
func TestStartsThatDoNotLastLeadToSafeMode(t *testing.T) {
	s, d, q := newSite(t), disk(t), newMonitor(t)
	m := s.governs(t, d, "observe", q.usb()...)
	visitor, login := s.firstVisit(t, m)
	var governed int
	for n := 0; ; n++ {
		m.cut()
		if n > 2*startsMost { // one or another may have lasted, on a slow host, or have failed by the emulation
			t.Fatalf("%d starts, and no safe mode; the last one said:\n%s", n, m.said())
		}
		m = powerOn(t, s.board, d, q.usb(), s.cables...)
		first := m.either(t, "SAFE MODE", "governing, mode observe")
		if first == "SAFE MODE" {
			break
		}
		if first != "" {
			governed++
		}
	}
	if governed < startsMost-1 {
		t.Errorf("safe mode after %d starts that governed", governed)
	}
	if said := m.said(); !strings.Contains(said, "SAFE MODE: 5 starts in a row ended within 2m0s. The bridge is up, mail passes unjudged.") {
		t.Errorf("the console says:\n%s", said)
	}
	visitor.stands(t, login, "safe")
	if err := s.client.session("10.99.0.2:25", 10*time.Second); err != nil {
		t.Errorf("in safe mode mail does not pass: %v", err)
	}
	if strings.Contains(m.said(), "mail was seen") {
		t.Error("in safe mode mail is judged")
	}
	o := m.operator(t)
	o.chooses("1")
	o.sees("The box is in safe mode: The box went down 5 times in a row")
	a, err := visitor.http.PostForm(visitor.base+"/recovery/govern", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Body.Close(); a.StatusCode != http.StatusOK {
		t.Errorf("the recovery page ends safe mode: %s", a.Status)
	}
	visitor.stands(t, login, "governing")
	m.waitFor(t, o.from, "governing, mode observe")
	if err := s.client.session("10.99.0.2:25", time.Minute); err != nil {
		t.Errorf("after safe mode mail does not pass: %v", err)
	}
	m.waitFor(t, o.from, "mail was seen")

	q.do(t, "system_powerdown") // its power button
	select {
	case <-m.gone:
	case <-time.After(patience):
		t.Errorf("the power button does not power it off; the console said:\n%s", m.said()[o.from:])
	}
	if said := m.said()[o.from:]; !strings.Contains(said, "the power button was pressed") || !strings.Contains(said, "stopping: power off") {
		t.Errorf("the power button: the console said:\n%s", said)
	}
}

// either waits until the console has said one of some texts, and gives it; "": the machine ended before.
func (m *machine) either(t *testing.T, texts ...string) string {
	t.Helper()
	for deadline := time.Now().Add(bootTime); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		said := m.said()
		for _, text := range texts {
			if strings.Contains(said, text) {
				return text
			}
		}
		select {
		case <-m.gone:
			return ""
		default:
		}
	}
	t.Fatalf("the console has said none of %q; it said:\n%s", texts, m.said())
	return ""
}
