package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/appliance/syslog/rsyslogtest"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/browsertest"
)

// What a person is reckoned to need, which nobody has measured here: by the keystroke-level model (Card, Moran and Newell, "The keystroke-level model for user performance time with interactive
// systems", 1980) with a typist who is no secretary; and by the usual speed of silent reading, 238 words a minute (Brysbaert, "How many words do we
// read per minute?", 2019).
const (
	perKey   = 280 * time.Millisecond
	perClick = 1300 * time.Millisecond // to point, press and let go
	perThink = 1350 * time.Millisecond // before each field and each button
	perWord  = time.Minute / 238
)

// footstep is one step of a way through the web admin, as a person goes it.
type footstep struct {
	name                        string
	clicks, keys, thinks, words int
	machine                     time.Duration // what the browser and the box took
}

func (f footstep) person() time.Duration {
	return time.Duration(f.clicks)*perClick + time.Duration(f.keys)*perKey + time.Duration(f.thinks)*perThink + time.Duration(f.words)*perWord
}

// newcomer goes a way step by step, and counts.
type newcomer struct {
	*browsertest.Person
	t   *testing.T
	way []footstep
}

// does goes a step: what is said is done, until css is seen. Every word of the page that comes is read, if reads says so.
func (n *newcomer) does(name, css string, reads bool, acts ...act) {
	n.t.Helper()
	f := footstep{name: name}
	var actions []browsertest.Act
	for _, a := range acts {
		f.clicks, f.keys, f.thinks = f.clicks+a.clicks, f.keys+a.keys, f.thinks+1
		actions = append(actions, a.action)
	}
	began := time.Now()
	n.Do(name, append(actions, browsertest.See(css))...)
	f.machine = time.Since(began)
	if reads {
		f.words = len(strings.Fields(n.Text("main")))
	}
	n.way = append(n.way, f)
}

// act is one thing that a person does.
type act struct {
	clicks, keys int
	action       browsertest.Act
}

func presses(css string) act { return act{clicks: 1, action: browsertest.Click(css)} }

// writes types into a field to which Tab leads; a line break at the end is Enter.
func writes(css, text string) act {
	return act{keys: 1 + utf8.RuneCountInString(text), action: browsertest.Type(css, text)}
}

// picks takes one of a list that opens.
func picks(css, value string) act { return act{clicks: 2, action: browsertest.Choose(css, value)} }

// sends chooses a file: the button, the file, Open.
func sends(css, file string) act {
	return act{clicks: 3, action: browsertest.Send(css, file)}
}

func goes(url string) act {
	return act{keys: 1 + utf8.RuneCountInString(url), action: browsertest.Open(url)}
}

// is holds the clicks and keys of a way against what appliance/doc/NEWCOMER.md says of them, and what a person is reckoned to need against a limit. What
// the machine took is told and not judged.
func (n *newcomer) is(title string, limit time.Duration) {
	n.t.Helper()
	doc, err := os.ReadFile(filepath.Join("..", "doc", "NEWCOMER.md"))
	if err != nil {
		n.t.Fatal(err)
	}
	var sum footstep
	var table strings.Builder
	row := func(f footstep) {
		said := fmt.Sprintf("| %s | %d | %d |", f.name, f.clicks, f.keys)
		if !strings.Contains(string(doc), said) {
			n.t.Errorf("doc/NEWCOMER.md does not have the row %q", said)
		}
		fmt.Fprintf(&table, "%s %.0f s | %.1f s |\n", said, f.person().Seconds(), f.machine.Seconds())
	}
	for _, f := range n.way {
		row(f)
		sum.clicks, sum.keys, sum.thinks, sum.words, sum.machine = sum.clicks+f.clicks, sum.keys+f.keys, sum.thinks+f.thinks, sum.words+f.words, sum.machine+f.machine
	}
	sum.name = "all of it"
	if len(n.way) > 1 {
		row(sum)
	}
	n.t.Logf("%s\n| step | clicks | keys | a person, reckoned | the machine, measured |\n|---|---|---|---|---|\n%s", title, &table)
	if took := sum.person(); took > limit {
		n.t.Errorf("%s: a person is reckoned to need %.0f s, want at most %.0f s", title, took.Seconds(), limit.Seconds())
	}
	n.way = nil
}

// rsyslog is Debian's, in the box's namespace; it ends with the test.
func rsyslog(t *testing.T, l *lab.Lab) (s *rsyslogtest.Server) {
	t.Helper()
	dir := t.TempDir()
	check(t, l.Box.Do(func() (err error) { // what a thread starts is in its namespace
		if s, err = rsyslogtest.New(dir); err != nil {
			return err
		}
		return s.Start()
	}))
	t.Cleanup(func() { check(t, s.Stop(syscall.SIGTERM)) })
	return s
}

// firstVisit is a newcomer at a box where nobody was yet, and the code that its console shows.
func (b *box) firstVisit() (n *newcomer, code string) {
	b.t.Helper()
	at, err := b.lab.Box.Proxy(b.ctx, 18443, netip.MustParseAddrPort("127.0.0.1:8443"))
	check(b.t, err)
	var shown webadmin.SetupCode
	b.cli(&shown, "users", "setup-code")
	return &newcomer{Person: browsertest.New(b.t, "https://"+at.String()+"/"), t: b.t}, shown.Code
}

const firstPassword = "four words are easier"

// Who opens the web admin of a new box comes to "observing, syslog arriving" within ten minutes, if they read every word of every page; and then mail
// that crosses the box is on record at their own rsyslog, by the names of their own list.
func TestANewcomerSetsUpABox(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	collector := rsyslog(t, l)
	b := newBox(t, ctx, l, "mode: observe\n", "subscriber,plan\n")
	b.start()
	n, code := b.firstVisit()
	list := filepath.Join(t.TempDir(), "lines.csv")
	check(t, os.WriteFile(list, fmt.Appendf(nil, "subscriber,plan,prefixes,name\nS-1,residential,%s %s,Elm Street 12\nS-2,office,192.0.2.99,Mill Lane 3\n", home.IPv4, home.Prefix6), 0o600))
	address := goes("https://192.168.77.1:8443/")
	address.action = browsertest.Open(n.URL) // the way from here to the lab's box

	n.does("open the address that the console shows", "#code", true, address)
	n.does("setup code, and a password twice", ".steps", true, writes("#code", code), writes("#password", firstPassword), writes("#again", firstPassword+"\r"))
	n.does("begin", "#limited", true, presses("main .button"))
	n.does("ports and topology: as found", "select[name=host]", true, presses(".go button"))
	n.does("management address: as found", ".facts", true, presses(".go button"))
	n.does("time: it is right", "#presets", true, presses(".go button"))
	n.does("plans: as proposed", "#text", true, presses(".go button"))
	n.does("choose the list of subscribers", "button[value=take]", true, sends("#file", list), presses("button[value=preview]"))
	n.does("take it", "#transport", true, presses("button[value=take]"))
	n.does("add a collector", "button[value=test]", true, picks("#transport", "relp"), writes("#host", "127.0.0.1"), writes("#port", fmt.Sprintf("%05d", collector.Ports["relp"])), presses("button[value=add]"))
	n.does("send it a test record", "#tested", true, presses("button[value=test]"))
	if said := n.Text("#tested"); !strings.Contains(said, "has it") || strings.Contains(said, "does not") {
		t.Errorf("%q", said)
	}
	n.does("go on", "#mode-choice", true, presses("button[value=keep]"))
	n.does("finish, in mode observe", "#finished", true, presses(".go button"))
	if said := n.Text("#finished"); !strings.Contains(said, "mode observe, 2 subscribers, 1 collector") {
		t.Errorf("%q", said)
	}
	n.is("from the first visit to observing, syslog arriving", 10*time.Minute)

	for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: true, Sessions: 2}) {
		if s.Result != lab.Sent {
			t.Errorf("mail across the box: %v: %v", s.Result, s.Err)
		}
	}
	heard := func(words ...string) bool {
		text, err := os.ReadFile(collector.Out)
		check(t, err)
		for line := range bytes.Lines(text) {
			all := true
			for _, w := range words {
				all = all && bytes.Contains(line, []byte(w))
			}
			if all {
				return true
			}
		}
		return false
	}
	for _, want := range [][]string{
		{" AUDIT ", `what="config"`, "relp://"}, // what was done here
		{" SESSION ", `subscriber="S-1"`, `plan="residential"`, `mode="observe"`, `starttls="accepted"`},
	} {
		await(t, 20*time.Second, fmt.Sprintf("rsyslog has a record with %q", want), func() bool { return heard(want...) })
	}
	if s := b.subscriber("S-1"); s.Name != "Elm Street 12" || b.status().Mode != "observe" {
		t.Errorf("mode %s, S-1 is %+v", b.status().Mode, s)
	}
}

// Who has a caller on the line whose mail is slow has the sentence for them within twenty seconds, by whatever the caller says first.
func TestTheDeskHasTheSentenceAtOnce(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`), fmt.Sprintf("subscriber,plan,prefixes,name\nS-1044,home,%s,Elm Street 12\nS-2,home,192.0.2.99,Mill Lane 3\n", home.IPv4))
	b.start()
	told := "" // what the caller reads out
	for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 5}) {
		if s.Result == lab.Deferred {
			_, rest, _ := strings.Cut(strings.Join(s.Replies, " "), "case ")
			told, _, _ = strings.Cut(rest, ";")
		}
	}
	if told == "" {
		t.Fatal("nobody was deferred, by a 421 with a case")
	}
	n, code := b.firstVisit()
	n.Do("somebody who is logged in", browsertest.Open(n.URL), browsertest.See("#code"), browsertest.Type("#code", code), browsertest.Type("#password", firstPassword), browsertest.Type("#again", firstPassword+"\r"), browsertest.See(".steps"))
	for what, said := range map[string]string{"the name": "Elm Street 12", "the address": home.IPv4.String(), "the case of the 421": told} {
		n.Do("the overview", browsertest.Open(n.URL), browsertest.See("#mode"))
		n.does("click into the search box, type "+what+", Enter", "#sentence", false, presses(".search input"), writes(".search input", said+"\r"))
		if sentence := n.Text("#sentence"); !strings.Contains(sentence, "mail") || len(strings.Fields(sentence)) < 15 {
			t.Errorf("%s leads to %q", what, sentence)
		}
		n.way[0].keys-- // the click has brought the focus
		n.is("from \"my mail is slow\" to the sentence, by "+what, 20*time.Second)
	}
}
