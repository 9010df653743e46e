//go:build qemu

package imagetest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/sealed"
)

// few lets a line that is on no list have so few sessions that the next one is deferred.
const few = `plans:
  - name: few
    highest_stage: defer
    budgets: [{of: sessions, limit: 3, per: 24h}]
    ladder: {pace_at: 100, pace_max: 0s}
identity: {unmapped_plan: few}
`

// deferred sends until a session is answered by the box, as a plan with few sessions has it.
func (s *site) deferred(t *testing.T) {
	t.Helper()
	until(t, "a session that is deferred", func() error {
		err := s.client.session("10.99.0.2:25", 10*time.Second)
		if err == nil {
			return errors.New("it passed")
		}
		if !strings.Contains(err.Error(), "421 4.7.0 sessions ") {
			return err
		}
		return nil
	})
}

// A backup of one box, locked with a passphrase and carried on a stick, makes a fresh one do the same, by the console alone.
func TestABackupMakesAFreshImageTheSame(t *testing.T) {
	s, q := newSite(t), newMonitor(t)
	m := s.governs(t, disk(t), "observe")
	v, login := s.firstVisit(t, m)
	var is struct{ Text, Revision string }
	var done any
	if err := v.api("GET", "config", nil, &is); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(is.Text, "mode: observe", "mode: enforce", 1) + few
	if err := v.api("PUT", "config", map[string]string{"config": text, "revision": is.Revision}, &done); err != nil {
		t.Fatal(err)
	}
	s.deferred(t)
	a, err := v.http.Post(v.base+"/api/v1/backup", "application/json", strings.NewReader(`{"now": "`+login.Get("password")+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	backup, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", a.Status, err, backup)
	}
	m.cut()

	const passphrase = "correct horse battery staple"
	if backup, err = sealed.Seal(backup, passphrase); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mailweir-old.zip.age")
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	m = s.governs(t, disk(t), "observe", q.usb()...)
	if err := s.client.session("10.99.0.2:25", patience); err != nil {
		t.Errorf("before: %v", err)
	}
	q.put(t, path)
	o := m.operator(t)
	const which = "Number, or Enter to go back: "
	until(t, "the stick is found", func() error {
		o.chooses("10")
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			switch said := m.said()[o.from:]; {
			case strings.Contains(said, which):
				return nil
			case strings.Contains(said, "No backup was found"):
				return fmt.Errorf("the console says %q", said)
			}
		}
		return errors.New("the console does not answer")
	})
	o.sees(which)
	o.types("1")
	o.sees("Its passphrase: ")
	o.types(passphrase)
	from := o.from
	o.sees(`Type "restore" to go on: `)
	if said := m.said()[from:o.from]; !strings.Contains(said, "nothing was changed") || !strings.Contains(said, "enforce") {
		t.Errorf("what it would change: %q", said)
	}
	o.types("restore")
	o.sees("restored, and in force")
	m.waitFor(t, 0, "governing, mode enforce")
	s.deferred(t)
}
