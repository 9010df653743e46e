package appliance

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/appliance/update/updatetest"
	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/browsertest"
)

// flashed is a box without network that was started from an image, whose slots are files; process 1 is the test.
type flashed struct {
	*deaf
	disk   updatetest.Disk
	secret minisign.PrivateKey
	wrote  func(int)

	mu      sync.Mutex
	machine update.Box // guarded by mu
	orders  []string   // that process 1 got; guarded by mu
}

func newFlashed(t *testing.T) *flashed {
	t.Helper()
	public, secret, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	about := layout.About{Product: "mailweir", Board: "amd64", Version: "v10", Build: 10, Keys: []string{public.String()}}
	f := &flashed{deaf: newDeaf(t, homePlans, homeList), secret: secret}
	f.disk = updatetest.NewDisk(t, map[string][]byte{"a": updatetest.Slot(t, about, 200_000), "b": updatetest.Slot(t, layout.About{Product: "mailweir", Board: "amd64", Version: "v9", Build: 9}, 200_000)})
	f.machine = update.Box{About: about, Running: "a", Env: f.disk, Open: func(slot string) (update.Partition, error) {
		p, err := f.disk.Open(slot)
		p.Wrote = f.wrote
		return p, err
	}}
	f.opt.Image = &Image{
		Machine: func() (*update.Box, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			b := f.machine
			return &b, nil
		},
		Links:   func() []string { return []string{"port2", "port3"} },
		Restart: func() error { f.ordered("restart"); return nil },
	}
	return f
}

func (f *flashed) ordered(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = append(f.orders, what)
}

// bundle is an update that the box trusts, or another one by secret.
func (f *flashed) bundle(a layout.About, size int, secret minisign.PrivateKey) []byte {
	f.t.Helper()
	var b bytes.Buffer
	if err := bundle.Write(&b, a, updatetest.Slot(f.t, a, size), secret); err != nil {
		f.t.Fatal(err)
	}
	return b.Bytes()
}

// audits are those of an update or a restart of the box, the oldest first.
func (f *flashed) audits() (all []string) {
	for _, r := range f.recent.Select(recentRecords, func(r *records.Record) bool {
		return r.Kind == records.KindAudit && slices.Contains([]string{"update", "reboot"}, r.Value("what"))
	}) {
		all = append([]string{r.Text + " | " + r.Value("before") + " -> " + r.Value("after")}, all...)
	}
	return all
}

func (f *flashed) expects(audits ...string) {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); !slices.Equal(f.audits(), audits); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("records %q\nwant %q", f.audits(), audits)
		}
	}
}

var nextAbout = layout.About{Product: "mailweir", Board: "amd64", Version: "v11", Build: 11}

// From the file to the version that stays, by somebody whose browser has no scripts.
func TestAnUpdateComesByTheWebAdmin(t *testing.T) {
	f := newFlashed(t)
	file := filepath.Join(f.dir, "v11.mwu")
	sound := f.bundle(nextAbout, 5<<20, f.secret)
	damaged := bytes.Clone(sound)
	damaged[len(damaged)/2] ^= 1
	f.write("v11.mwu", string(damaged))
	running := f.disk.Slot(t, "a")
	recording(t, f.deaf)
	end := serve(t, f.deaf, "127.0.0.1:0")
	url := f.here().URL()
	p := browsertest.New(t, url)
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", f.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	p.Do("the page", open(p.URL+"settings/backup"), click(`.tabs a[href="/settings/update"]`), see("#slots"))
	if said := p.Text("#slots"); !strings.Contains(said, "aversion v10 (build 10)runs") || !strings.Contains(said, "bversion v9 (build 9)to fall back to") {
		t.Errorf("%q", said)
	}
	p.Do("a damaged one", sends("#file", file), click("main form[enctype] button"), see("#refused"))
	if said := p.Text("#main"); !strings.Contains(said, "The update was not written whole") || !strings.Contains(said, "the file is damaged: the slot has SHA-256") || !strings.Contains(said, "it is empty or was written in partnothing to start") {
		t.Errorf("%q", said)
	}
	f.write("v11.mwu", string(sound))
	p.Do("the sound one", sends("#file", file), click("main form[enctype] button"), see("#waits"))
	if said := p.Text("#waits"); !strings.Contains(said, "Version v11 (build 11) is in slot b and goes on trial when the box starts again. Until then version v10 (build 10) runs.") {
		t.Errorf("%q", said)
	}
	if env, err := f.disk.Read(); err != nil || env != (layout.Env{Active: "a", Next: "b", Tries: layout.EnvTries}) || !bytes.Equal(f.disk.Slot(t, "a"), running) || !bytes.HasPrefix(f.disk.Slot(t, "b"), updatetest.Slot(t, nextAbout, 5<<20)) {
		t.Errorf("GRUB's state %+v, %v, or the slots are not as they should be", env, err)
	}
	p.Do("not yet restarted", click("#do-reboot summary"), see("#do-reboot button"))
	if len(f.orders) != 0 {
		t.Error("it is restarted before anybody said so")
	}
	p.Do("restarted", click("#do-reboot button"), see("#rebooting"))
	if !slices.Equal(f.orders, []string{"restart"}) {
		t.Errorf("process 1 got %q", f.orders)
	}

	// The new version runs from slot b, at the same address.
	if err := end(); err != nil {
		t.Fatal(err)
	}
	f.machine.Running, f.machine.About = "b", nextAbout
	f.machine.About.Keys = []string{f.secret.Public().(minisign.PublicKey).String()}
	end = serve(t, f.deaf, strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/"))
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	p.Do("back", open(p.URL+"settings/update?again=1"), see("#name"), typed("#name", "admin"), typed("#password", browserPassword+"\r"), see("#trial"))
	if said := p.Text("#main"); !strings.Contains(said, "Version v11 (build 11) runs on trial") || p.Count("#file") != 0 {
		t.Errorf("%q", said)
	}
	box, err := f.opt.Image.Machine()
	if err != nil {
		t.Fatal(err)
	}
	o, err := update.Load(f.opt.DataDir)
	if err != nil || o.State != update.Waits || !slices.Equal(o.Links, []string{"port2", "port3"}) {
		t.Fatalf("%+v, %v", o, err)
	}
	o.State, o.Time = update.Committed, o.Time.Add(time.Minute)
	if err := errors.Join(box.Commit(), o.Save(f.opt.DataDir)); err != nil {
		t.Fatal(err)
	}
	p.Do("committed", reads("#last", "Version v11 (build 11) came up healthy and stays")) // the page asks for itself
	if said := p.Text("#slots"); !strings.Contains(said, "aversion v10 (build 10)to fall back to") || !strings.Contains(said, "bversion v11 (build 11)runs") || p.Count("#trial") != 0 || p.Count("#file") != 1 {
		t.Errorf("%q", said)
	}
	all := f.audits()
	if len(all) != 3 || !strings.HasPrefix(all[0], "admin 127.0.0.1: update slot b | version v10 (build 10) runs from slot a -> version v11 (build 11) was not written whole into slot b; version v10 runs on: slot b: the file is damaged") ||
		all[1] != "admin 127.0.0.1: update slot b | version v10 (build 10) runs from slot a -> version v11 (build 11) is in slot b and goes on trial at the next start" ||
		all[2] != "admin 127.0.0.1: reboot box | version v10 (build 10) runs from slot a -> slot b goes on trial" {
		t.Errorf("%q", all)
	}
}

// uploads sends an update to the API, by a connection of its own.
func (f *flashed) uploads(body io.Reader) (status int, said string) {
	f.t.Helper()
	token, err := os.ReadFile(f.here().TokenFile())
	if err != nil {
		f.t.Fatal(err)
	}
	r, err := http.NewRequest("POST", f.here().URL()+"api/v1/update", body)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: time.Minute}
	a, err := c.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

func TestWhatIsNoUpdateForThisBoxIsRefusedByTheWebAdmin(t *testing.T) {
	f := newFlashed(t)
	_, stranger, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	recording(t, f.deaf)
	end := serve(t, f.deaf, "127.0.0.1:0")
	defer end()
	other, older := nextAbout, nextAbout
	other.Board, older.Version, older.Build = "arm64", "v8", 8
	sound := f.bundle(nextAbout, 1<<20, f.secret)
	changed := bytes.Clone(sound)
	changed[len(changed)-2000] ^= 1
	var audits []string
	for _, row := range []struct {
		why    string
		file   []byte
		status int
		says   string
		wrote  bool // something into slot b
	}{
		{"another key", f.bundle(nextAbout, 1<<20, stranger), 400, "The signature is not by a key that this image trusts", false},
		{"another board", f.bundle(other, 1<<20, f.secret), 400, "It is for the board arm64, this is amd64; nothing was written", false},
		{"a lower build", f.bundle(older, 1<<20, f.secret), 400, "Its build 8 (v8) is older than build 10 (v10), which runs; nothing was written", false},
		{"cut short in the manifest", sound[:700], 400, "the file is cut short; nothing was written", false},
		{"no update at all", bytes.Repeat([]byte("no update "), 1000), 400, "no update of mailweir", false},
		{"nothing", nil, 400, "the file is cut short; nothing was written", false},
		{"cut short", sound[:len(sound)/2], 422, "of the slot: the file is cut short. What runs is not touched", true},
		{"a byte changed", changed, 422, "the file is damaged: the slot has SHA-256", true},
		{"a byte more", append(bytes.Clone(sound), 0), 422, "it goes on behind its end", true},
	} {
		before := f.disk.Slot(t, "b")
		running := f.disk.Slot(t, "a")
		status, said := f.uploads(bytes.NewReader(row.file))
		var p struct{ Title, Detail string }
		if err := json.Unmarshal([]byte(said), &p); err != nil || status != row.status || !strings.Contains(p.Detail, row.says) {
			t.Errorf("%s: %d %s, %v", row.why, status, said, err)
		}
		env, err := f.disk.Read()
		if err != nil || env != (layout.Env{Active: "a"}) || !bytes.Equal(running, f.disk.Slot(t, "a")) || bytes.Equal(before, f.disk.Slot(t, "b")) == row.wrote {
			t.Errorf("%s: %+v, %v, or a slot that is not as it should be", row.why, env, err)
		}
		slots := (&source{a: f.Appliance}).Firmware().Slots
		if row.wrote && slots[1].Fault == "" {
			t.Errorf("%s: what was written in part passes for a slot: %+v", row.why, slots[1])
		}
		last := (&source{a: f.Appliance}).Firmware().Last
		if last == nil || last.State == webadmin.UpdateWaits {
			t.Errorf("%s: %+v", row.why, last)
			continue
		}
		audits = append(audits, "admin.token 127.0.0.1: update slot b | version v10 (build 10) runs from slot a -> "+last.Text)
		f.expects(audits...)
		if err := os.WriteFile(filepath.Join(f.disk.Dir, "b"), before, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if status, said := f.uploads(bytes.NewReader(sound)); status != 200 || !strings.Contains(said, `"state":"waits"`) {
		t.Errorf("and a sound one: %d %s", status, said)
	}
}

// A box of 256 MB takes an update as large as a slot: of what comes no more is kept than passes through at once.
func TestALargeUpdateNeedsLittleMemory(t *testing.T) {
	f := newFlashed(t)
	recording(t, f.deaf)
	end := serve(t, f.deaf, "127.0.0.1:0")
	defer end()
	file := filepath.Join(f.dir, "large.mwu")
	f.write("large.mwu", string(f.bundle(nextAbout, layout.SlotBytes-4096, f.secret)))
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var most uint64
	written := 0
	f.wrote = func(n int) {
		if written += n; written%(4<<20) < n {
			most = max(most, live())
		}
	}
	body, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	before := live()
	if status, said := f.uploads(body); status != 200 {
		t.Fatalf("%d %s", status, said)
	}
	if written < layout.SlotBytes-8192 || most == 0 {
		t.Fatalf("%d bytes were written", written)
	}
	more := int64(most) - int64(before)
	t.Logf("%d bytes written with %d more in memory at most", written, more)
	if more > 4<<20 {
		t.Errorf("%d bytes of memory were needed on the way", more)
	}
}

// Two who install do not mix, and a restart of a box that does not know its slots is ordered all the same.
func TestTwoUpdatesAtOnce(t *testing.T) {
	f := newFlashed(t)
	s := &source{a: f.Appliance}
	sound := f.bundle(nextAbout, 1<<20, f.secret)
	pipe, feed := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := s.Install(pipe, "anna 192.0.2.1")
		first <- err
	}()
	if _, err := feed.Write(sound[:10_000]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(bytes.NewReader(sound), "olga 192.0.2.2"); !errors.Is(err, webadmin.ErrBusy) {
		t.Errorf("%v", err)
	}
	go func() { io.Copy(feed, bytes.NewReader(sound[10_000:])); feed.Close() }()
	if err := <-first; err != nil {
		t.Error(err)
	}
	f.opt.Image.Machine = func() (*update.Box, error) { return nil, errors.New("which disk?") }
	if v := s.Firmware(); v.Fault != "which disk?" || len(v.Slots) != 0 {
		t.Errorf("%+v", v)
	}
	if _, err := s.Install(bytes.NewReader(sound), "anna 192.0.2.1"); err == nil || err.Error() != "which disk?" {
		t.Errorf("%v", err)
	}
	if err := s.Reboot("anna 192.0.2.1"); err != nil || !slices.Equal(f.orders, []string{"restart"}) {
		t.Errorf("%v, %q", err, f.orders)
	}
	got := f.told(records.KindAudit)
	if len(got) != 2 || !strings.Contains(got[0], "anna 192.0.2.1: update slot b") || got[1] != "anna 192.0.2.1: reboot box |  -> " {
		t.Errorf("%q", got)
	}
}

func TestElsewhereThereIsNoImage(t *testing.T) {
	if (&source{a: newDeaf(t, homePlans, homeList).Appliance}).FromImage() {
		t.Error("a machine without an image has one")
	}
}

// resets are the records of a factory reset that a collector got, or the box has.
func resets(text string) (all []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, `what="factory_reset`) {
			all = append(all, line)
		}
	}
	return all
}

// By a browser without scripts: the collectors have the record before process 1 hears of it; while one of them does not, nothing is erased.
func TestAFactoryResetIsToldBeforeItHappens(t *testing.T) {
	f := newFlashed(t)
	var got lockedText
	at := collector(t, &got)
	target := func(port int) webadmin.ConfigChange {
		value, err := json.Marshal([]map[string]string{{"url": fmt.Sprintf("tcp://127.0.0.1:%d", port)}})
		if err != nil {
			t.Fatal(err)
		}
		return webadmin.ConfigChange{Keys: []webadmin.ConfigKey{{Key: "syslog.targets", Value: value}}, Sure: true}
	}
	s := &source{a: f.Appliance}
	nobody := freePort(t)
	if _, err := s.SetConfig(target(nobody), "me"); err != nil {
		t.Fatal(err)
	}
	f.opt.Image.Erase = func() error {
		for end := time.Now().Add(5 * time.Second); len(resets(got.String())) == 0; time.Sleep(10 * time.Millisecond) { // the collector has it; its reader may not have been at it
			if time.Now().After(end) {
				t.Error("process 1 was told before the collector")
				break
			}
		}
		f.ordered("erase")
		return nil
	}
	recording(t, f.deaf)
	end := serve(t, f.deaf, "127.0.0.1:0")
	defer end()
	p := browsertest.New(t, f.here().URL())
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", f.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	p.Do("the page", open(p.URL+"settings/backup"), click(`.tabs a[href="/settings/reset"]`), see("#confirm"))
	p.Do("a wrong password", typed("#now", "wrong"), typed("#confirm", "erase everything"), click("button.danger"), reads("#errors", "Your password: is wrong"))
	p.Do("a collector that is down", typed("#now", browserPassword), typed("#confirm", "erase everything"), click("button.danger"), reads("#errors", "does not have the record"))
	if len(f.orders) != 0 {
		t.Errorf("process 1 got %q", f.orders)
	}
	if _, err := s.SetConfig(target(at.Port), "me"); err != nil {
		t.Fatal(err)
	}
	p.Do("one that is up", typed("#now", browserPassword), typed("#confirm", "erase everything"), click("button.danger"), see("#erasing"))
	if said := p.Text("#main"); !strings.Contains(said, "has it") || strings.Contains(said, "does not have it") || !slices.Equal(f.orders, []string{"erase"}) {
		t.Errorf("%q, process 1 got %q", said, f.orders)
	}
	if all := resets(got.String()); len(all) == 0 || !strings.Contains(all[len(all)-1], `what="factory_reset" object="box-`) || !strings.Contains(all[len(all)-1], `who="admin 127.0.0.1"`) || !strings.Contains(all[len(all)-1], `before="mode enforce, 2 subscribers"`) {
		t.Errorf("the collector has %q", all)
	}
	var own []string
	for _, r := range f.recent.Select(recentRecords, func(r *records.Record) bool { return strings.HasPrefix(r.Value("what"), "factory_reset") }) {
		own = append(own, r.Value("what"))
	}
	if !slices.Equal(own, []string{"factory_reset", "factory_reset_stopped", "factory_reset"}) {
		t.Errorf("records %q", own)
	}

	// Process 1 cannot do it: that is said, and on record.
	f.opt.Image.Erase = func() error { return errors.New("the disk has no partition 5") }
	p.Do("an order that cannot be given", open(p.URL+"settings/reset"), see("#confirm"), typed("#now", browserPassword), typed("#confirm", "erase everything"), click("button.danger"), reads("#main", "the disk has no partition 5"))
}

// lockedText is a text that is written and read at once.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
