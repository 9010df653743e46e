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

// restores has the console restore the one backup on the stick, and returns what it said that it would change.
func (o *operator) restores(passphrase string) (changes string) {
	o.t.Helper()
	const which = "Number, or Enter to go back: "
	until(o.t, "the stick is found", func() error {
		o.chooses("10")
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			switch said := o.m.said()[o.from:]; {
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
	changes = o.m.said()[from:o.from]
	o.types("restore")
	o.sees("restored")
	return changes
}

// backedUp fetches a backup of the box, locks it and returns its path.
func (v *visitor) backedUp(t *testing.T, password, passphrase string) (path string) {
	t.Helper()
	a, err := v.http.Post(v.base+"/api/v1/backup", "application/json", strings.NewReader(`{"now": "`+password+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	backup, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", a.Status, err, backup)
	}
	if backup, err = sealed.Seal(backup, passphrase); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "mailweir-old.zip.age")
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const passphrase = "correct horse battery staple"

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
	path := v.backedUp(t, login.Get("password"), passphrase)
	m.cut()

	m = s.governs(t, disk(t), "observe", q.usb()...)
	if err := s.client.session("10.99.0.2:25", patience); err != nil {
		t.Errorf("before: %v", err)
	}
	q.put(t, path)
	if said := m.operator(t).restores(passphrase); !strings.Contains(said, "nothing was changed") || !strings.Contains(said, "enforce") {
		t.Errorf("what it would change: %q", said)
	}
	m.waitFor(t, 0, "governing, mode enforce")
	s.deferred(t)
}

// The backup of a router makes a fresh image, which is a bridge, a router that governs as the first did, over both families. Who may log in is not in it.
func TestARoutersBackupMakesAFreshImageARouter(t *testing.T) {
	s, q := newSite(t), newMonitor(t)
	s.client.gives(t, "inside", []string{calm6 + "/48", bot4 + "/24", bot6 + "/48"}, []string{inside4, inside6})
	s.server.gives(t, "lo", []string{mail4 + "/32", mail6 + "/128"}, nil)
	s.server.gives(t, "outside", []string{"192.0.2.1/29", "2001:db8:2::1/64"}, []string{edge4, edge6})
	s.server.serveMailAt(t, "tcp6", "[::]:25")
	m := s.governs(t, disk(t), "observe")
	v, login := s.firstVisit(t, m)
	v.configures(t, "mode: enforce\n"+router+few)
	s.server.takes(t, "outside", "10.99.0.2/24") // of the network that is behind the box from now on
	v.begins(t, m, login, "governing, mode enforce")
	v.keepsPorts(t)
	path := v.backedUp(t, login.Get("password"), passphrase)
	m.cut()

	drive := disk(t)
	m = powerOn(t, s.board, drive, q.usb(), s.cables...)
	m.waitFor(t, 0, "governing, mode observe")
	q.put(t, path)
	o := m.operator(t)
	if said := o.restores(passphrase); !strings.Contains(said, "network.topology") {
		t.Errorf("what it would change: %q", said)
	}
	o.sees("waiting for a restart")
	m.cut()
	m = powerOn(t, s.board, drive, q.usb(), s.cables...)
	m.waitFor(t, 0, "governing, mode enforce")
	for _, one := range [][2]string{{bot4, mail4}, {bot6, mail6}} {
		until(t, one[0]+" is deferred by the other box, too", func() error {
			err := s.client.sends(one[0], one[1], 10*time.Second)
			if err == nil {
				return errors.New("it passed")
			}
			if !strings.Contains(err.Error(), "421 4.7.0 sessions ") {
				return err
			}
			return nil
		})
	}
	if said := m.said(); !strings.Contains(said, "setup code ") {
		t.Errorf("the backup has brought who may log in? The console said:\n%s", said)
	}
}
