package webadmin

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// formWith is a form with a file, as a browser sends it.
func formWith(t *testing.T, name, content string) (body, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", name)
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestAnUpdateIsInstalledAndTheBoxStartsAgain(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/settings/update", "Cookie", cookie))
	for _, want := range []string{"version v10 (build 10)</td>", "version v9 (build 9)</td>", "to fall back to", "came up healthy and stays", `type="file"`, `aria-current="page">Update`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	form, kind := formWith(t, "v11.mwu", soundUpdate+strings.Repeat("x", 3<<20))
	a := ask(t, s, "POST", "/settings/update", form, "Cookie", cookie, "Content-Type", kind)
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/settings/update" {
		t.Fatalf("%s: %s", a.Status, body(t, a))
	}
	if did := box.done(); did != fmt.Sprintf("admin 127.0.0.1 update of %d bytes", 3<<20+len(soundUpdate)) {
		t.Error(did)
	}
	if page := body(t, get(t, s, "/settings/update", "Cookie", cookie)); !strings.Contains(page, `id="waits"`) || !strings.Contains(page, "<b>Version v11 (build 11) is in slot b</b>") || !strings.Contains(page, "Then the new version has up to two starts") {
		t.Errorf("nothing says that it waits: %s", page)
	}
	for _, plain := range []string{"", "1"} { // with scripts, and without
		a = send(t, s, cookie, "/settings/update/reboot", url.Values{"again": {plain}})
		if page := body(t, a); a.StatusCode != http.StatusOK || !strings.Contains(page, "The third start is of version v10 (build 10)") || (a.Header.Get("Refresh") == "120; url=/settings/update?again=1") != (plain != "") {
			t.Errorf("%s, Refresh %q: %s", a.Status, a.Header.Get("Refresh"), page)
		}
		if did := box.done(); did != "admin 127.0.0.1 reboot" {
			t.Error(did)
		}
	}
	box.mu.Lock()
	box.firmware = triedFirmware()
	box.mu.Unlock()
	for path, refresh := range map[string]string{"/settings/update": "", "/settings/update?again=1": "15"} {
		a = get(t, s, path, "Cookie", cookie)
		if page := body(t, a); a.Header.Get("Refresh") != refresh || !strings.Contains(page, `id="trial"`) || strings.Contains(page, `type="file"`) {
			t.Errorf("%s: Refresh %q: %s", path, a.Header.Get("Refresh"), page)
		}
	}
	box.mu.Lock()
	box.firmware = aFirmware()
	box.firmware.Last = &UpdateOutcome{State: UpdateRolledBack, At: ago(0), Text: "version v11 (build 11) was given up, version v10 (build 10) runs: self-test: a packet got no verdict in 5s"}
	box.failing = errors.New("no such process")
	box.mu.Unlock()
	a = get(t, s, "/settings/update?again=1", "Cookie", cookie)
	if page := body(t, a); a.Header.Get("Refresh") != "" || !strings.Contains(page, "a packet got no verdict in 5s") || !strings.Contains(page, "with all its settings") {
		t.Errorf("after it was given up: %s", page)
	}
	if a = send(t, s, cookie, "/settings/update/reboot", nil); a.StatusCode != http.StatusInternalServerError || !strings.Contains(body(t, a), "no such process") {
		t.Errorf("an order that cannot be given: %s", a.Status)
	}
}

func TestAnUpdateThatIsNotTakenSaysWhy(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	for _, row := range []struct {
		why, content string
		status       int
		title, says  string
	}{
		{"a stranger's", strangeUpdate, http.StatusBadRequest, "The update was refused", whyStrange},
		{"a damaged one", damagedUpdate, http.StatusUnprocessableEntity, "The update was not written whole", whyDamaged},
		{"beside another one", busyUpdate, http.StatusConflict, "Another update is being written", "Wait"},
		{"a disk that fails", "anything else", http.StatusInternalServerError, "The update was not taken", "Input/output error"},
	} {
		// Most of it comes after it is clear that it is not wanted: who sends it hears the answer all the same.
		content := row.content + strings.Repeat(".", 4<<20)
		form, kind := formWith(t, "v11.mwu", content)
		a := ask(t, s, "POST", "/settings/update", form, "Cookie", cookie, "Content-Type", kind)
		if page := body(t, a); a.StatusCode != row.status || !strings.Contains(page, `id="refused"`) || !strings.Contains(page, row.title) || !strings.Contains(page, capital(row.says)) || !strings.Contains(page, `type="file"`) {
			t.Errorf("%s, the page: %s %s", row.why, a.Status, page)
		}
		a = ask(t, s, "POST", "/api/v1/update", content, append(bearer, "Content-Type", updateMedia)...)
		if said := body(t, a); a.StatusCode != row.status || !strings.Contains(said, row.title) || !strings.Contains(said, capital(row.says)) {
			t.Errorf("%s, the API: %s %s", row.why, a.Status, said)
		}
	}
	box.done()
	other, kind := formWith(t, "", soundUpdate) // nothing was chosen
	for why, form := range map[string][2]string{"nothing chosen": {other, kind}, "no form": {"file=x", "application/x-www-form-urlencoded"}, "cut short": {other[:20], kind}} {
		a := ask(t, s, "POST", "/settings/update", form[0], "Cookie", cookie, "Content-Type", form[1])
		if page := body(t, a); a.StatusCode != http.StatusBadRequest || !strings.Contains(page, "Choose an update") || box.done() != "" {
			t.Errorf("%s: %s %s", why, a.Status, page)
		}
	}
	box.mu.Lock()
	box.firmware = aFirmware()
	box.firmware.Keys = 0
	box.mu.Unlock()
	if page := body(t, get(t, s, "/settings/update", "Cookie", cookie)); strings.Contains(page, `type="file"`) || !strings.Contains(page, "built without keys") {
		t.Error("an image without keys offers to take an update")
	}
}

// What comes is passed on while it comes, by both kinds of HTTP, also where that takes longer than the server gives an ordinary request: the box sees a
// chunk before the next one is sent.
func TestAnUpdateIsPassedOnWhileItComes(t *testing.T) {
	t.Parallel()
	if uploadPause <= 15*time.Second {
		t.Fatal("the chunks come too slowly for what is allowed")
	}
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			box := busyBox()
			s := startServer(t, Options{Source: box})
			temp, err := os.ReadDir(os.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			pipe, feed := io.Pipe()
			form := multipart.NewWriter(feed)
			chunk := bytes.Repeat([]byte("x"), 1<<20)
			sent := make(chan error, 1)
			const chunks = 9
			go func() {
				part, err := form.CreateFormFile("file", "v11.mwu")
				if err == nil {
					_, err = io.WriteString(part, soundUpdate)
				}
				total := len(soundUpdate)
				for i := 0; i < chunks && err == nil; i++ {
					_, err = part.Write(chunk)
					total += len(chunk)
					for end := time.Now().Add(20 * time.Second); err == nil; time.Sleep(10 * time.Millisecond) {
						box.mu.Lock()
						came := box.came
						box.mu.Unlock()
						if total-came < 256<<10 { // what is in the buffers on the way
							break
						}
						if time.Now().After(end) {
							err = fmt.Errorf("%d of %d bytes came to the box", came, total)
						}
					}
					time.Sleep(4 * time.Second) // nine of them are more than the server's times for reading (15 s) and writing (30 s)
				}
				err = errors.Join(err, form.Close())
				feed.CloseWithError(err)
				sent <- err
			}()
			r, err := http.NewRequest("POST", s.URL()+"settings/update", pipe)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", form.FormDataContentType())
			r.Header.Set("Cookie", enter(t, s))
			c := client()
			c.Timeout = 2 * time.Minute
			c.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: version == "HTTP/2.0"}
			defer c.CloseIdleConnections()
			a, err := c.Do(r)
			if err := errors.Join(err, <-sent); err != nil {
				t.Fatal(err)
			}
			defer a.Body.Close()
			if a.StatusCode != http.StatusSeeOther || a.Proto != version {
				t.Errorf("%s %s", a.Proto, a.Status)
			}
			if did := box.done(); did != fmt.Sprintf("admin 127.0.0.1 update of %d bytes", chunks<<20+len(soundUpdate)) {
				t.Error(did)
			}
			after, err := os.ReadDir(os.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			known := map[string]bool{}
			for _, f := range temp {
				known[f.Name()] = true
			}
			for _, f := range after {
				if !known[f.Name()] && strings.HasPrefix(f.Name(), "multipart-") {
					t.Errorf("%s was made for the upload", f.Name())
				}
			}
		})
	}
}

// clocked is a body that comes by its own clock, and what the connection was told.
type clocked struct {
	now         time.Time
	read, write time.Time
	waits       []time.Duration // before each byte
}

func (c *clocked) SetReadDeadline(t time.Time) error  { c.read = t; return nil }
func (c *clocked) SetWriteDeadline(t time.Time) error { c.write = t; return nil }

func (c *clocked) Read(b []byte) (int, error) {
	if len(c.waits) == 0 {
		return 0, io.EOF
	}
	c.now = c.now.Add(c.waits[0])
	c.waits = c.waits[1:]
	if c.now.After(c.read) {
		return 0, fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
	}
	b[0] = 'x'
	return 1, nil
}

func TestAnUploadHasTimeAsLongAsSomethingComes(t *testing.T) {
	t.Parallel()
	steady := func(n int, each time.Duration) (all []time.Duration) {
		for range n {
			all = append(all, each)
		}
		return all
	}
	for _, row := range []struct {
		why   string
		waits []time.Duration
		came  int
		says  string
	}{
		{"fast", steady(1000, time.Millisecond), 1000, ""},
		{"slow and steady", steady(40, 20*time.Second), 40, ""},
		{"it stops", append(steady(3, time.Second), uploadPause+time.Second), 3, "nothing came for 30 seconds"},
		{"for ever", steady(100, 20*time.Second), 45, "not all of it came in 15 minutes"},
	} {
		c := &clocked{now: noon, waits: row.waits}
		a := &arriving{body: c, conn: c, now: func() time.Time { return c.now }, end: noon.Add(uploadMost)}
		b, err := io.ReadAll(a)
		if said := fmt.Sprint(err); len(b) != row.came || (err == nil) != (row.says == "") || err != nil && said != row.says {
			t.Errorf("%s: %d bytes, %v", row.why, len(b), err)
		}
		if c.write.Sub(c.read) != settleMost {
			t.Errorf("%s: the answer has until %v, the body until %v", row.why, c.write, c.read)
		}
	}
}

// Who leaves in the middle leaves no half of an update behind as a whole one.
func TestAnUploadThatBreaksOffIsNotTaken(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	pipe, feed := io.Pipe()
	r, err := http.NewRequest("POST", s.URL()+"api/v1/update", pipe)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 8 << 20
	r.Header.Set("Authorization", "Bearer "+tokenOf(t, s))
	go func() {
		io.WriteString(feed, soundUpdate+strings.Repeat("x", 1<<20))
		feed.CloseWithError(errors.New("the cable was pulled"))
	}()
	if a, err := client().Do(r); err == nil {
		a.Body.Close()
		t.Errorf("%s", a.Status)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		did := box.done()
		if did == "admin.token 127.0.0.1 update stopped" {
			break
		}
		if did != "" || time.Now().After(end) {
			t.Fatalf("%q", did)
		}
	}
}

func TestTheFirmwareByAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	if f := read[Firmware](t, s, "/api/v1/update"); f.Running.Build != 10 || len(f.Slots) != 2 || f.Last.State != UpdateCommitted {
		t.Errorf("%+v", f)
	}
	if a := ask(t, s, "POST", "/api/v1/update", soundUpdate+strings.Repeat("x", 1<<20), bearer...); a.StatusCode != 200 || !strings.Contains(body(t, a), `"state":"waits"`) {
		t.Errorf("%s", a.Status)
	}
	if f := read[Firmware](t, s, "/api/v1/update"); !f.Slots[1].OnTrial || f.Slots[1].Tries != 2 {
		t.Errorf("%+v", f)
	}
	box.done()
	if a := ask(t, s, "POST", "/api/v1/update/reboot", "", bearer...); a.StatusCode != 200 || body(t, a) != "{\"rebooting\":true}\n" || box.done() != "admin.token 127.0.0.1 reboot" {
		t.Errorf("%s", a.Status)
	}
	box.mu.Lock()
	box.firmware = Firmware{Running: Release{Version: "v10"}, Board: "?", Fault: "it is not known which disk this box was started from"}
	box.mu.Unlock()
	if said := body(t, get(t, s, "/api/v1/update", bearer...)); !strings.Contains(said, `"slots":[]`) || !strings.Contains(said, `"last":null`) || !strings.Contains(said, "which disk") {
		t.Errorf("%s", said)
	}
}

func TestWhereThereIsNoImageNothingOfUpdatesIsShown(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.foreign = true
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	for _, path := range []string{"/settings/backup", "/settings/targets", "/settings/users", "/wizard"} {
		if strings.Contains(body(t, get(t, s, path, "Cookie", cookie)), "/settings/update") {
			t.Errorf("%s has a tab", path)
		}
	}
	form, kind := formWith(t, "v11.mwu", soundUpdate)
	for _, row := range [][]string{{"GET", "/settings/update", ""}, {"POST", "/settings/update", form}, {"POST", "/settings/update/reboot", ""}, {"GET", "/api/v1/update", ""}, {"POST", "/api/v1/update", soundUpdate}, {"POST", "/api/v1/update/reboot", ""}} {
		if a := ask(t, s, row[0], row[1], row[2], "Cookie", cookie, "Content-Type", kind); a.StatusCode != http.StatusNotFound || box.done() != "" {
			t.Errorf("%s %s: %s", row[0], row[1], a.Status)
		}
	}
}
