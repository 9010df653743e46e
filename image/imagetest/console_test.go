//go:build qemu

package imagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/mailweir/mailweir/image/layout"
)

// operator sits at the serial line of a machine.
type operator struct {
	t    *testing.T
	m    *machine
	from int // what the console said before was seen
}

func (m *machine) operator(t *testing.T) *operator {
	return &operator{t: t, m: m}
}

// sees waits for text behind what was seen before.
func (o *operator) sees(text string) {
	o.t.Helper()
	o.m.waitFor(o.t, o.from, text)
	o.from += strings.Index(o.m.said()[o.from:], text) + len(text)
}

func (o *operator) types(text string) {
	o.t.Helper()
	if _, err := io.WriteString(o.m.line, text+"\r"); err != nil {
		o.t.Fatal(err)
	}
}

// chooses takes a line of the menu, and answers questions.
func (o *operator) chooses(number string, answers ...string) {
	o.t.Helper()
	o.from = len(o.m.said())
	o.types("")
	o.sees("then Enter: ")
	o.types(number)
	for i := 0; i < len(answers); i += 2 {
		o.sees(answers[i])
		o.types(answers[i+1])
	}
}

// dataPart is where the data partition of a disk lies.
func dataPart(t *testing.T, disk string) extent {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := gpt.Read(file.New(f, true), sector, sector)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table.Partitions {
		if p.Index == layout.Data && p.Start > 0 {
			return extent{int64(p.Start) * sector, int64(p.End-p.Start+1) * sector}
		}
	}
	t.Fatal("no data partition")
	return extent{}
}

var long = regexp.MustCompile(`[A-Za-z0-9+/$=,_-]{14,}`) // keys, hashes, tokens, the box's name

// secrets are strings of this box alone, from files in its data partition, read from outside; and the address of who sent mail. None: not all is on the disk yet.
func secrets(t *testing.T, disk string) (all []string) {
	t.Helper()
	data := dataPart(t, disk)
	part := filepath.Join(t.TempDir(), "part")
	copied := exec.Command("dd", "if="+disk, "of="+part, "bs=1M", "conv=sparse", fmt.Sprintf("skip=%d", data.from>>20), fmt.Sprintf("count=%d", data.size>>20))
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// What was written last is in the journal of ext4 only. The box still runs, so there may be something to mend in the copy: exit codes 1 and 2.
	if out, err := exec.Command("e2fsck", "-fy", part).CombinedOutput(); err != nil && !strings.Contains("exit status 1 exit status 2", err.Error()) {
		t.Fatalf("e2fsck: %v: %s", err, out)
	}
	show := func(request string) string {
		out, err := exec.Command("debugfs", "-R", request, part).Output()
		if err != nil {
			t.Fatalf("debugfs %s: %v", request, err)
		}
		return string(out)
	}
	files := []string{"/mailweir/users.json", "/mailweir/admin.token", "/mailweir/box.id"}
	for name := range strings.FieldsSeq(show("ls -p /mailweir/tls")) { // /INODE/MODE/UID/GID/NAME/SIZE/
		if part := strings.Split(name, "/"); len(part) > 5 && strings.HasPrefix(part[2], "10") && part[5] != "clock-not-set" { // that is empty
			files = append(files, "/mailweir/tls/"+part[5])
		}
	}
	for _, name := range files {
		var found []string
		text := show("cat " + name)
		if strings.Contains(text, "BEGIN CERTIFICATE") {
			continue // it is not secret, and whole lines of it are the same in the next one
		}
		for _, s := range long.FindAllString(text, -1) {
			if strings.ContainsAny(s, "0123456789") { // a word of a file's format has none
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			t.Logf("there is nothing in %s yet that could be looked for: %q", name, text)
			return nil
		}
		all = append(all, found...)
	}
	return append(all, "10.99.0.1")
}

// holds are those strings that lie somewhere on a disk.
func holds(t *testing.T, disk string, all []string) (found []string) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	left := map[string]bool{}
	for _, s := range all {
		left[s] = true
	}
	const step, overlap = 8 << 20, 4096
	b := make([]byte, step+overlap)
	blank := make([]byte, step+overlap)
	for at := int64(0); ; at += step {
		n, err := f.ReadAt(b, at)
		if !bytes.Equal(b[:n], blank[:n]) {
			for s := range left {
				if bytes.Contains(b[:n], []byte(s)) {
					found = append(found, s)
					delete(left, s)
				}
			}
		}
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheConsole has an operator at the serial line do what the menu offers, down to a factory reset, and one at the screen power off.
func TestTheConsole(t *testing.T) {
	if *image == "" {
		t.Fatal("-args -image FILE is needed; make image-test does it")
	}
	s, path, q := newSite(t), flash(t, *image), newMonitor(t)
	m := s.governs(t, "format=raw,cache=unsafe,file="+path, "observe", q.usb()...)
	visitor, login := s.firstVisit(t, m)
	visitor.mode(t, "enforce")
	m.waitFor(t, 0, "governing, mode enforce")

	o := m.operator(t)
	o.chooses("1")
	o.sees("enforce, judging packets")
	o.chooses("2")
	o.sees("Web admin at https://10.77.0.50:8443/")
	o.chooses("5")
	o.sees("runs, active")
	o.chooses("6")
	o.sees("governing, mode enforce")

	o.chooses("3", `Type "bypass" to go on: `, "bypass")
	o.sees("BYPASS: mail passes unjudged")
	visitor.stands(t, login, "bypass")
	if err := s.client.session("10.99.0.2:25", 10*time.Second); err != nil {
		t.Errorf("in bypass mail does not pass: %v", err)
	}
	o.chooses("3", `Type "govern" to go on: `, "govern")
	o.sees("bypass has ended")
	visitor.stands(t, login, "governing")
	o.chooses("3", `Type "bypass" to go on: `, "bypass")
	o.sees("BYPASS: mail passes unjudged")
	visitor.stands(t, login, "bypass")
	if err := dialAt(s.client, "[fe80::5054:ff:fe00:2%inside]:8443"); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the recovery page as seen from a bridged port: %v, want silence", err)
	}
	a, err := visitor.http.PostForm(visitor.base+"/recovery/govern", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.Body.Close(); a.StatusCode != http.StatusOK {
		t.Errorf("the recovery page ends bypass: %s", a.Status)
	}
	o.sees("governing is tried again")
	visitor.stands(t, login, "governing")

	o.chooses("4", "Name, or Enter to go back: ", "anna")
	o.sees("password: ")
	password := strings.Fields(o.m.said()[o.from:])[0]
	o.sees(`If the second factor is lost, too, type "drop": `)
	o.types("no")
	visitor.comes(t, url.Values{"name": {"anna"}, "password": {password}})

	var known []string
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Second) { // the kernel writes what nobody waits for after half a minute
		known = secrets(t, path)
		missing := len(known) - len(holds(t, path, known))
		if known != nil && missing == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d strings are not on the disk before, so this test would show nothing", missing, len(known))
		}
	}
	o.chooses("9", `Type "erase everything" to go on: `, "erase everything")
	o.sees("factory reset: they are erased")
	o.sees("first start: making a file system")
	o.sees("governing, mode observe")
	o.sees("setup code ")
	if code := strings.Fields(o.m.said()[o.from:])[0]; code == login.Get("code") {
		t.Errorf("the setup code is %s again", code)
	}
	if to, err := visitor.form("/login", login); err == nil && to != "/setup" {
		t.Errorf("the user of before comes to %q", to)
	}

	// At the screen, with a keyboard.
	var keys []string
	for _, k := range "\n8\npower off\n" {
		keys = append(keys, "sendkey "+map[rune]string{'\n': "ret", ' ': "spc"}[k]+strings.Trim(string(k), "\n "))
	}
	q.do(t, keys...)
	select {
	case <-m.gone:
	case <-time.After(patience):
		t.Errorf("the keyboard does not power it off; the console said:\n%s", m.said()[o.from:])
	}
	if left := holds(t, path, known); len(left) > 0 {
		t.Errorf("%d of %d strings are on the disk after the factory reset: %q", len(left), len(known), left)
	}
	t.Logf("%d strings were looked for", len(known))
}

func dialAt(s *space, address string) error { return s.do(func() error { return dial(address) }) }

// stands logs in until the box says that it governs, or why it does not.
func (v *visitor) stands(t *testing.T, fields url.Values, want string) {
	t.Helper()
	var is struct{ State, Why string }
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Second) {
		if _, err = v.form("/login", fields); err == nil {
			err = v.api("GET", "recovery", nil, &is)
		}
		if err == nil && is.State == want {
			return
		}
	}
	t.Errorf("the box says %+v, %v; want %s", is, err, want)
}
