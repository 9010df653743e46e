package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/appliance/notices"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A line that goes over its budget is told to a webhook, whose signature openssl finds right, and by e-mail through a real Exim with
// STARTTLS and a password, and after a reload through a real Postfix. The box's own mail is no session of anybody. What the
// webhook could not take when the box was killed arrives after its start.
func TestNoticesReachTheDesk(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	login := lab.Login{Name: "box", Password: "correct horse"}
	exim := addServer(t, ctx, l, "exim", lab.ServerOptions{Software: lab.Exim, StartTLS: true, Domains: []string{"isp.test"}, Tuning: lab.Tuning{Login: login}})
	postfix := addServer(t, ctx, l, "postfix", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"isp.test"}})
	first, second := addHome(t, l, "first"), addHome(t, l, "second")
	host, err := l.AddHost("desk", lab.Internet)
	check(t, err)

	secret, err := exec.CommandContext(ctx, "sh", "-c", `printf 'whsec_%s\n' "$(openssl rand -base64 32)"`).Output()
	check(t, err)
	for name, text := range map[string]string{"desk.secret": string(secret), "mail.secret": login.Password + "\n", "ca.pem": string(l.CA.PEM)} {
		check(t, os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600))
	}
	desk := openDesk(t, l.Dir, host)
	notify := func(smarthost netip.AddrPort, login string) string {
		return config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 4, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`) + fmt.Sprintf(`notices:
  stages: [defer]
  webhooks: [{name: desk, url: "http://%s/hook", secret_file: desk.secret, of: [stages]}]
  mail: {smarthost: "%s", ca_file: ca.pem, %sfrom: box@isp.test, to: [abuse@isp.test], of: [stages]}
`, desk.at, smarthost, login)
	}
	b := newBox(t, ctx, l, notify(exim.Address(false), "user: box, password_file: mail.secret, "),
		fmt.Sprintf("subscriber,plan,prefixes,name\nfirst,small,%s,Example Home\nsecond,small,%s,\n", first.IPv4, second.IPv4))
	b.start()

	tested := func(why string) {
		t.Helper()
		resp, err := b.api().Post("http://mailweir/api/v1/notices/test", "", nil)
		check(t, err)
		defer resp.Body.Close()
		var got struct{ Items []webadmin.NoticeResult }
		check(t, json.NewDecoder(resp.Body).Decode(&got))
		for _, r := range got.Items {
			if !r.OK {
				t.Errorf("%s: test of %s: %s", why, r.Target, r.Error)
			}
		}
		if len(got.Items) != 2 {
			t.Errorf("%s: %d targets were tested", why, len(got.Items))
		}
	}
	tested("Exim")
	if s := b.status().Sessions; s.Total != 0 || s.Open != 0 {
		t.Errorf("the box counts its own mail: %+v", s)
	}

	over := func(home *lab.Home) {
		t.Helper()
		for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 6}) {
			if s.Result != lab.Sent && s.Result != lab.Deferred {
				t.Errorf("a session: %v, %v", s.Result, s.Err)
			}
		}
	}
	// mailed tells whether a server has the mail of a notice, once.
	mailed := func(s *lab.MailServer, id string) bool {
		got, err := s.Delivered()
		check(t, err)
		n := 0
		for mid, times := range got {
			if strings.HasPrefix(string(mid), id+"@") {
				n += times
			}
		}
		if n > 1 {
			t.Errorf("the mail of %s came %d times", id, n)
		}
		return n == 1
	}
	over(first)
	await(t, 30*time.Second, "the webhook of the first line", func() bool { return desk.about("first") != nil })
	told := desk.about("first")
	if told.To != "defer" || told.Name != "Example Home" || told.Case == "" || !strings.Contains(told.Customer, told.Case) {
		t.Errorf("told %+v", told)
	}
	await(t, 30*time.Second, "the mail of the first line, through Exim", func() bool { return mailed(exim, told.ID) })

	// The desk goes away, the smarthost becomes another; the second line goes over, and the box is killed.
	desk.refuse(true)
	b.write(notify(postfix.Address(false), ""))
	check(t, b.cmd.Process.Signal(syscall.SIGHUP))
	await(t, 10*time.Second, "the other smarthost to be in force", func() bool {
		n := b.status().Notices
		return len(n) == 2 && n[1].Where == "smtp://"+postfix.Address(false).String()
	})
	over(second)
	await(t, 30*time.Second, "the webhook of the second line to be tried in vain", func() bool {
		n := b.status().Notices[0]
		return n.Waiting == 1 && !n.Up && strings.Contains(n.LastError, "503")
	})
	b.kill()
	desk.refuse(false)
	b.start()
	await(t, 30*time.Second, "the webhook of the second line after the kill", func() bool { return desk.about("second") != nil })
	await(t, 30*time.Second, "the mail of the second line, through Postfix", func() bool { return mailed(postfix, desk.about("second").ID) })
	tested("Postfix")
	for _, p := range desk.problems() {
		t.Error(p)
	}
	if s := b.status().Sessions; s.Total != 0 {
		t.Errorf("after the start the box counts %d sessions, all of them its own mail", s.Total)
	}
}

// desk is a receiver of webhooks in the lab, which has openssl check what comes.
type desk struct {
	at     netip.AddrPort
	secret string

	mu    sync.Mutex
	away  bool
	got   []notices.Notice
	wrong []string
}

func openDesk(t *testing.T, dir string, at lab.Line) *desk {
	t.Helper()
	d := &desk{at: netip.AddrPortFrom(at.IPv4, 8080), secret: filepath.Join(dir, "desk.secret")}
	ln, err := at.Namespace.Listen("tcp4", d.at.String())
	check(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.take(t.TempDir(), w, r) })}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return d
}

func (d *desk) take(dir string, w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	raw, err := io.ReadAll(r.Body)
	var body struct{ Data notices.Notice }
	if err != nil || json.Unmarshal(raw, &body) != nil {
		d.wrong = append(d.wrong, fmt.Sprintf("body %q: %v", raw, err))
	}
	signed := filepath.Join(dir, "signed")
	os.WriteFile(signed, fmt.Appendf(nil, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), raw), 0o600)
	out, err := exec.Command("sh", "-c", `openssl dgst -sha256 -mac HMAC -macopt hexkey:$(sed s/^whsec_// "$1" | base64 -d | od -An -v -tx1 | tr -d ' \n') -binary "$2" | base64`,
		"sh", d.secret, signed).CombinedOutput()
	if want := "v1," + strings.TrimSpace(string(out)); err != nil || r.Header.Get("webhook-signature") != want {
		d.wrong = append(d.wrong, fmt.Sprintf("signature %s, openssl says %s (%v)", r.Header.Get("webhook-signature"), want, err))
	}
	d.got = append(d.got, body.Data)
}

func (d *desk) refuse(away bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = away
}

// about is the first notice of a subscriber, nil when none came.
func (d *desk) about(subscriber string) *notices.Notice {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.got {
		if n.Subscriber == subscriber {
			return &n
		}
	}
	return nil
}

func (d *desk) problems() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wrong
}
