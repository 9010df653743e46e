package appliance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/users"
)

// visitor is somebody at the recovery page.
type visitor struct {
	t    *testing.T
	at   string
	http http.Client
}

func newVisitor(t *testing.T, at string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t, at, http.Client{Jar: jar, Timeout: time.Minute, Transport: transport}}
}

// comes waits until somebody answers.
func (v *visitor) comes() {
	v.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		a, err := v.http.Get(v.at + "/login")
		if err == nil {
			a.Body.Close()
			return
		}
		if time.Now().After(end) {
			v.t.Fatal(err)
		}
	}
}

func (v *visitor) sends(path, kind string, body io.Reader) (status int, said string) {
	v.t.Helper()
	method := http.MethodPost
	if body == nil {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, v.at+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	a, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

func (v *visitor) opens(path string) (int, string) { v.t.Helper(); return v.sends(path, "", nil) }

func (v *visitor) fills(path string, form url.Values) (int, string) {
	v.t.Helper()
	return v.sends(path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

// uploads sends a file in a form, with what else is in that.
func (v *visitor) uploads(path string, file []byte, fields ...[2]string) (int, string) {
	v.t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	var err error
	for _, f := range fields {
		err = errors.Join(err, m.WriteField(f[0], f[1]))
	}
	part, bad := m.CreateFormFile("file", "a.file")
	if err = errors.Join(err, bad); err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, m.Close()); err != nil {
		v.t.Fatal(err)
	}
	return v.sends(path, m.FormDataContentType(), &b)
}

// inSafeMode is what process 1 would say.
func inSafeMode() webadmin.Standstill {
	return webadmin.Standstill{State: webadmin.StateSafe, Why: "The program that governs ended 5 times within 5m0s.", Since: webadmin.At(opened), Again: true, Lines: []string{"panic: oh"}}
}

// A box whose program ends again and again gets an update and a backup by its page, with the accounts that it had; what was done is in its records when it
// governs again.
func TestABoxThatGovernsNothingIsMendedByItsPage(t *testing.T) {
	at := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	listening := fmt.Sprintf("admin: {listen: %q}\n", at)
	good := newDeaf(t, listening+homePlans, homeList)
	backup, err := (&source{a: good.Appliance}).Backup("anna")
	if err != nil {
		t.Fatal(err)
	}

	f := newFlashed(t)
	opt := f.opt
	f.cut()
	opt.Image.Erase = func() error { f.ordered("erase"); return nil }
	f.write("mailweir.yaml", listening+"identity: {unmapped_plan: unmapped}\n")
	f.write("subscribers.csv", "subscriber,plan\n")
	store, _, err := users.Open(filepath.Join(opt.DataDir, webadmin.UsersFile), opt.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Add("anna", users.Admin, browserPassword, false); err != nil {
		t.Fatal(err)
	}
	opt.Log, opt.Version = slog.New(slog.DiscardHandler), "v10-test"
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Recover(ctx, RecoveryOptions{Options: opt, Standstill: inSafeMode,
			Govern:   func() error { f.ordered("govern"); return nil },
			PowerOff: func() error { f.ordered("power off"); return nil }})
	}()
	v := newVisitor(t, "https://"+at)
	v.comes()
	if status, said := v.opens("/"); status != http.StatusOK || strings.Contains(said, "panic: oh") || !strings.Contains(said, `id="password"`) {
		t.Errorf("before the login: %d %s", status, said)
	}
	if status, _ := v.fills("/login", url.Values{"name": {"anna"}, "password": {"wrong"}}); status != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", status)
	}
	status, said := v.fills("/login", url.Values{"name": {"anna"}, "password": {browserPassword}})
	for _, want := range []string{"<h1>Safe mode</h1>", "ended 5 times within 5m0s", "panic: oh", "Try governing again", "v10-test"} {
		if status != http.StatusOK || !strings.Contains(said, want) {
			t.Errorf("%d: the page lacks %q: %s", status, want, said)
		}
	}
	if status, said := v.opens("/api/v1/status"); status != http.StatusServiceUnavailable || !strings.Contains(said, "The box is in safe mode") {
		t.Errorf("the API: %d %s", status, said)
	}
	if status, said := v.uploads("/settings/update", f.bundle(nextAbout, 1<<20, f.secret)); status != http.StatusOK || !strings.Contains(said, "Version v11 (build 11) is in slot b") {
		t.Errorf("the update: %d %s", status, said)
	}
	if env, err := f.disk.Read(); err != nil || env.Next != "b" {
		t.Errorf("GRUB's state %+v, %v", env, err)
	}
	broken := bytes.Clone(backup)
	broken[len(broken)/2] ^= 1
	if status, said := v.uploads("/settings/restore", broken, [2]string{"do", "restore"}); status != http.StatusBadRequest || !strings.Contains(said, "Nothing was changed") {
		t.Errorf("a damaged backup: %d %s", status, said)
	}
	if status, said := v.uploads("/settings/restore", backup, [2]string{"do", "look"}); status != http.StatusOK || !strings.Contains(said, "What this file would change") || f.read("subscribers.csv") == homeList {
		t.Errorf("looked at: %d %s", status, said)
	}
	if status, said := v.uploads("/settings/restore", backup, [2]string{"do", "restore"}, [2]string{"now", browserPassword}); status != http.StatusOK || !strings.Contains(said, "Restored") || strings.Contains(said, "waits for a restart") {
		t.Errorf("restored: %d %s", status, said)
	}
	if f.read("mailweir.yaml") != listening+homePlans || f.read("subscribers.csv") != homeList {
		t.Error("the files are not those of the backup")
	}
	for path, says := range map[string]string{"/recovery/govern": "Governing begins", "/recovery/off": "The box goes off"} {
		if status, said := v.fills(path, nil); status != http.StatusOK || !strings.Contains(said, says) {
			t.Errorf("%s: %d %s", path, status, said)
		}
	}
	f.mu.Lock()
	slices.Sort(f.orders)
	if !slices.Equal(f.orders, []string{"govern", "power off"}) {
		t.Errorf("process 1 got %q", f.orders)
	}
	f.mu.Unlock()
	end()
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	f.start()
	f.tellAside()
	all := f.told(records.KindAudit)
	for _, want := range []string{"anna 127.0.0.1: login_refused anna", "anna 127.0.0.1: login anna", "anna 127.0.0.1: update slot b", "anna 127.0.0.1: restore mailweir.yaml", "anna 127.0.0.1: govern box", "anna 127.0.0.1: power_off box"} {
		if !slices.ContainsFunc(all, func(line string) bool {
			return strings.HasPrefix(line, want+" | ") && strings.HasSuffix(line, "; at "+opened.UTC().Format(time.RFC3339)+", while nothing was governed")
		}) {
			t.Errorf("no record %q in %q", want, all)
		}
	}
	if f.planOf("home") != "small" {
		t.Error("what was restored is not in force")
	}
	f.tellAside()
	if again := f.told(records.KindAudit); len(again) != len(all) {
		t.Errorf("told twice: %q", again[len(all):])
	}
}

// What made governing fail, a configuration or an address or a certificate, does not take the page away as well.
func TestThePageListensAllTheSame(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread has a network of its own, so that the usual port is free
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("a network namespace needs root: %v", err)
	}
	lo, err := netlink.LinkByName("lo") // without an address anywhere the kernel takes any for its own
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ why, config, url string }{
		{"all is well", "admin: {listen: \":9443\"}\n" + homePlans, "https://localhost:9443/"},
		{"a configuration that cannot be read", "mode: sideways\n", "https://localhost:8443/"},
		{"none", "", "https://localhost:8443/"},
		{"an address that the box does not have", "admin: {listen: \"192.0.2.77:9443\"}\n" + homePlans, "https://localhost:8443/"},
		{"a certificate that is not there", "admin: {listen: \":9443\", tls: {cert_file: none.pem, key_file: none.key}}\n" + homePlans, "https://localhost:9443/"},
	} {
		dir, err := os.MkdirTemp("", "recovery") // with room for a socket's name
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "mailweir.yaml")
		if row.config != "" {
			if err := os.WriteFile(file, []byte(row.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := newRecovered(RecoveryOptions{Options: Options{ConfigFile: file, DataDir: filepath.Join(dir, "data"), Log: slog.New(slog.DiscardHandler)}, Standstill: inSafeMode})
		if err != nil {
			t.Fatal(err)
		}
		web, err := r.serve()
		if err != nil {
			t.Errorf("%s: %v", row.why, err)
			continue
		}
		if web.URL() != row.url {
			t.Errorf("%s: it listens at %s, want %s", row.why, web.URL(), row.url)
		}
		if err := web.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Nobody can tell a collector, so somebody has to waive that.
func TestAFactoryResetInSafeModeSaysThatNobodyIsTold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ why, config, url string }{
		{"a collector", "syslog: {targets: [{url: \"relp://192.0.2.9\"}]}\n" + homePlans, "relp://192.0.2.9"},
		{"which is not known", "mode: sideways\n", "of the configuration, which cannot be read"},
		{"none", homePlans, ""},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "mailweir.yaml")
		if err := os.WriteFile(file, []byte(row.config), 0o600); err != nil {
			t.Fatal(err)
		}
		erased := 0
		r, err := newRecovered(RecoveryOptions{Options: Options{ConfigFile: file, DataDir: filepath.Join(dir, "data"), Log: slog.New(slog.DiscardHandler), Image: &Image{Erase: func() error { erased++; return nil }}}})
		if err != nil {
			t.Fatal(err)
		}
		told, err := r.FactoryReset(t.Context(), false, "anna")
		if row.url == "" {
			if err != nil || len(told) != 0 || erased != 1 {
				t.Errorf("%s: %+v, %v, erased %d times", row.why, told, err, erased)
			}
			continue
		}
		if err != nil || len(told) != 1 || told[0].OK || told[0].URL != row.url || erased != 0 {
			t.Errorf("%s: %+v, %v, erased %d times", row.why, told, err, erased)
		}
		if st := r.Status(); len(st.Syslog) != 1 || st.Syslog[0].URL != row.url || r.Holds().Unknown == "" {
			t.Errorf("%s: %+v", row.why, st)
		}
		if _, err := r.FactoryReset(t.Context(), true, "anna"); err != nil || erased != 1 {
			t.Errorf("%s, waived: %v, erased %d times", row.why, err, erased)
		}
	}
}

// Who tries passwords does not fill the disk, and a line that was cut off takes no other with it.
func TestWhatIsKeptAsideIsBounded(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := newAside(d.opt.DataDir, slog.New(slog.DiscardHandler))
	for n := range 4000 {
		s.add(records.AuditFacts{Time: opened, Who: fmt.Sprintf("nobody 192.0.2.%d", n%256), What: "login_refused", Object: "nobody", After: "wrong name or password"})
	}
	info, err := os.Stat(s.path)
	if err != nil || info.Size() < asideMost || info.Size() > asideMost+1024 {
		t.Fatalf("%v, %v", info, err)
	}
	cut, err := os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = cut.WriteString(`{"Time":"20`)
		err = errors.Join(err, cut.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	d.tellAside()
	all := d.told(records.KindAudit)
	if n := len(all); n < 500 || !strings.HasPrefix(all[n-1], "mailweir: audit_full recovery.audit | ") || !strings.HasPrefix(all[n-2], "nobody 192.0.2.") {
		t.Errorf("%d records", n)
	}
	if _, err := os.Stat(s.path); err == nil || !strings.Contains(d.log.String(), "lines_that_cannot_be_read=1") {
		t.Errorf("it is still there, or the log does not say what could not be read: %s", d.log)
	}
}
