package notices

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

// desk is a target that does as it is told and remembers what it took.
type desk struct {
	mu    sync.Mutex
	say   func(n Notice) error // nil: takes it
	took  []Notice
	tried int
}

func (d *desk) send(_ context.Context, n Notice) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried++
	if d.say != nil {
		if err := d.say(n); err != nil {
			return err
		}
	}
	d.took = append(d.took, n)
	return nil
}

func (d *desk) texts() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.took {
		all = append(all, n.Text)
	}
	return all
}

func (d *desk) answer(say func(Notice) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say = say
}

// world is a service on a store of its own, and a chain that makes records.
type world struct {
	*Service
	t       *testing.T
	dir     string
	store   *store.Store
	chain   *records.Chain
	mu      sync.Mutex
	trouble map[string]string
	lost    []string
	end     func()
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, dir: dir, trouble: map[string]string{}}
	var err error
	if w.store, err = store.Open(dir, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if w.chain, err = records.OpenChain(filepath.Join(dir, "records.state"), "box-1"); err != nil {
		t.Fatal(err)
	}
	w.chain.SetPolicy("enforce", "p")
	w.Service, err = Open(Options{
		Shelf: w.store.Shelf("notices"), Box: "box-1", Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Name: func(id string) string { return "name of " + id },
		Trouble: func(target, why string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.trouble[target] = why
		},
		Lost: func(target string, n int, why string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lost = append(w.lost, fmt.Sprintf("%s %d %s", target, n, why))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run delivers until stop.
func (w *world) run(targets map[string]*desk) {
	w.Use(setupOf(w.t, targets))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	w.end = func() { cancel(); <-done }
}

func (w *world) stop() {
	w.end()
	if err := errors.Join(w.chain.Close(), w.store.Close()); err != nil {
		w.t.Error(err)
	}
}

func setupOf(t *testing.T, targets map[string]*desk) Setup {
	texts, err := ReadTemplates("", "")
	if err != nil {
		t.Fatal(err)
	}
	s := Setup{Stages: map[string]bool{"defer": true, "cut": true}, Limit: 20, Per: time.Hour, MaxAge: 7 * 24 * time.Hour, Texts: texts, Mode: "enforce"}
	for name, d := range targets {
		s.Targets = append(s.Targets, Target{Name: name, Kind: "webhook", Of: types([]string{"stages", "clusters", "health"}), to: d})
	}
	return s
}

func (w *world) take(e records.Entry) { w.Take(w.chain.Append(e, time.Now())) }

func stage(sub string, from, to governor.Stage) records.Entry {
	c := governor.StageChange{From: from, To: to, At: time.Now()}
	c.Subscriber, c.Plan, c.Case, c.Mode = sub, "residential", "00007", governor.ModeEnforce
	return records.Stage(c)
}

func health(what string) records.Entry {
	return records.Health(records.HealthFacts{Time: time.Now(), What: what, Detail: "a test"})
}

// What is worth a notice becomes one, with the subscriber's name and a text for him; everything else does not.
func TestRecordsBecomeNotices(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		w.run(map[string]*desk{"desk": d})
		w.take(stage("S-1", governor.StageObserve, governor.StageWarn))
		w.take(stage("S-1", governor.StageWarn, governor.StageDefer))
		w.take(stage("S-1", governor.StageDefer, governor.StageWarn)) // neither into a stage that is told nor over
		w.take(stage("S-2", governor.StageCut, governor.StageObserve))
		w.take(health("queue_overflow"))
		w.take(health("notices")) // of ourselves: the next would follow
		w.take(records.Audit(records.AuditFacts{Time: time.Now(), Who: "admin", What: "login"}))
		w.take(records.Cluster(records.ClusterFacts{Time: time.Now(), ID: "K1", What: "began", JA4: "t13", Looks: "botnet", Subscribers: 12, Why: "rare"}))
		synctest.Wait()
		w.stop()
		var got []string
		for _, n := range d.took {
			got = append(got, strings.Join([]string{n.Type, n.Subscriber, n.To, n.What, n.Subscribers}, " "))
			if n.ID == "" || n.Box != "box-1" || n.Mode != "enforce" || n.Seq == 0 {
				t.Errorf("notice %+v lacks what all have", n)
			}
			if (n.Type == StageChanged) != (n.Customer != "") {
				t.Errorf("%s has the customer's text %q", n.Type, n.Customer)
			}
		}
		want := []string{"stage.changed S-1 defer  ", "stage.changed S-2 observe  ", "health.changed   queue_overflow ", "cluster.seen   began 12"}
		if !slices.Equal(got, want) {
			t.Errorf("told\n%q, want\n%q", got, want)
		}
		if c := d.took[0]; c.Name != "name of S-1" || !strings.Contains(c.Customer, "try again later") || !strings.Contains(c.Customer, "00007") {
			t.Errorf("notice of a deferral: %+v", c)
		}
	})
}

// One target that is away holds up nobody else, and gets all of it when it is back.
func TestATargetThatIsAwayHoldsUpNobody(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, well, away := newWorld(t, dir), &desk{}, &desk{}
		away.answer(func(Notice) error { return &unreachable{why: "connection refused"} })
		w.run(map[string]*desk{"well": well, "away": away})
		for i := range 5 {
			w.take(stage(fmt.Sprint("S-", i), governor.StageWarn, governor.StageCut))
			synctest.Wait()
			if n := len(well.texts()); n != i+1 {
				t.Fatalf("the target that is well has %d of %d", n, i+1)
			}
		}
		time.Sleep(3 * 24 * time.Hour)
		synctest.Wait()
		if w.trouble["away"] != "connection refused" {
			t.Errorf("trouble %q", w.trouble["away"])
		}
		if n := away.tried; n < 3*24*60/6 || n > 3*24*60/3 {
			t.Errorf("tried %d times in three days", n)
		}
		away.answer(nil)
		time.Sleep(lastPause)
		synctest.Wait()
		if got := away.texts(); !slices.Equal(got, well.texts()) {
			t.Errorf("when it was back it got %q", got)
		}
		if w.trouble["away"] != "" || len(w.lost) > 0 {
			t.Errorf("trouble %q, lost %q", w.trouble["away"], w.lost)
		}
		w.stop()
	})
}

// One notice that a target chokes on goes round it; those behind it arrive within minutes, and at last it is given up and told.
func TestOnePoisonousNoticeBlocksNoOther(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		d.answer(func(n Notice) error {
			if n.Subscriber == "S-poison" {
				return &refusal{"it answers 500 Internal Server Error"}
			}
			return nil
		})
		w.run(map[string]*desk{"desk": d})
		w.take(stage("S-poison", governor.StageWarn, governor.StageCut))
		for i := range 3 {
			w.take(stage(fmt.Sprint("S-", i), governor.StageWarn, governor.StageCut))
		}
		time.Sleep(2 * firstPause)
		synctest.Wait()
		if n := len(d.texts()); n != 3 {
			t.Errorf("%d of 3 arrived beside it", n)
		}
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if len(w.lost) != 1 || !strings.Contains(w.lost[0], "desk 1 refused 12 times, the last time: it answers 500") || !strings.Contains(w.lost[0], "S-poison") {
			t.Errorf("told as lost: %q", w.lost)
		}
		if st := w.Status()[0]; st.Waiting != 0 || st.Given != 1 || st.Delivered != 3 {
			t.Errorf("status %+v", st)
		}
		w.stop()
	})
}

// What was taken and not delivered is delivered in the next life, with the same id, also what was held back for a digest.
func TestWhatWaitsOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		d.answer(func(Notice) error { return errors.New("no route to host") })
		w.run(map[string]*desk{"desk": d})
		for i := range 23 {
			w.take(stage(fmt.Sprint("S-", i), governor.StageWarn, governor.StageCut))
		}
		synctest.Wait()
		w.stop()
		if len(d.took) > 0 {
			t.Fatal("they were delivered already")
		}

		w, d = newWorld(t, dir), &desk{}
		w.run(map[string]*desk{"desk": d})
		synctest.Wait()
		w.stop()
		seen := map[string]bool{}
		for i, n := range d.took {
			if seen[n.ID] {
				t.Errorf("notice %s came twice", n.ID)
			}
			seen[n.ID] = true
			if want := fmt.Sprint("S-", i); n.Type == StageChanged && n.Subscriber != want {
				t.Errorf("notice %d is of %s, want %s", i, n.Subscriber, want)
			}
		}
		if len(d.took) != 21 || d.took[20].Type != Digest || d.took[20].More != 3 || len(d.took[20].Lines) != 3 {
			t.Errorf("%d notices, the last %+v", len(d.took), d.took[len(d.took)-1])
		}
	})
}

// More than may be told one by one become a digest that says how many; a type has no part in another's limit.
func TestTooManyBecomeADigest(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		w.run(map[string]*desk{"desk": d})
		for i := range 500 {
			w.take(stage(fmt.Sprint("S-", i), governor.StageWarn, governor.StageCut))
		}
		w.take(health("queue_overflow"))
		synctest.Wait()
		if got := d.texts(); len(got) != 21 || !strings.Contains(got[20], "queue_overflow") {
			t.Errorf("at once: %d, %q", len(got), got[len(got)-1])
		}
		time.Sleep(time.Hour / 20)
		synctest.Wait()
		if last := d.took[len(d.took)-1]; len(d.took) != 22 || last.Type != Digest || last.More != 480 || last.Of != StageChanged || len(last.Lines) != digestLines {
			t.Errorf("after three minutes: %d notices, %+v", len(d.took), last)
		}
		if w.Digested() != 480 {
			t.Errorf("digested %d", w.Digested())
		}
		time.Sleep(2 * time.Hour)
		w.take(stage("S-later", governor.StageWarn, governor.StageCut))
		synctest.Wait()
		if last := d.took[len(d.took)-1]; last.Subscriber != "S-later" {
			t.Errorf("later: %+v", last)
		}
		w.stop()
	})
}

// A target that is away for ever costs a bounded amount of disk, and what had to go is told.
func TestAQueueIsBounded(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t, dir), &desk{}
		d.answer(func(Notice) error { return errors.New("no route to host") })
		s := setupOf(t, map[string]*desk{"desk": d})
		w.run(map[string]*desk{"desk": d})
		s.Limit = 1000
		s.Per = time.Minute
		w.Use(s)
		synctest.Wait()
		for i := range maxWaiting + 10 {
			w.take(stage(fmt.Sprint("S-", i), governor.StageWarn, governor.StageCut))
			if i%500 == 499 {
				time.Sleep(time.Minute)
			}
		}
		synctest.Wait()
		w.stop()
		if st := w.Status()[0]; st.Waiting != maxWaiting || st.Given != 10 || len(w.lost) == 0 {
			t.Errorf("status %+v, told %q", st, w.lost)
		}
		w = newWorld(t, dir)
		q := w.queue("desk")
		if len(q.items) != maxWaiting || q.items[0].Notice.Subscriber != "S-10" {
			t.Errorf("the next life has %d, the first of %s", len(q.items), q.items[0].Notice.Subscriber)
		}
		w.run(map[string]*desk{})
		synctest.Wait()
		if len(w.lost) != 1 || !strings.HasPrefix(w.lost[0], "desk 1000 the configuration does not have") {
			t.Errorf("without the target: %q", w.lost)
		}
		w.stop()
		if err := errors.Join(emptyShelf(dir)); err != nil {
			t.Error(err)
		}
	})
}

func emptyShelf(dir string) error {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Shelf("notices").Range(func(key, _ []byte) error { return fmt.Errorf("%q is still on the disk", key) })
}

// Records of mail, of which there are thousands a second, cost a comparison and leave nothing behind.
func TestTakingARecordOfMailCostsNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	defer w.store.Close()
	defer w.chain.Close()
	w.Use(setupOf(t, map[string]*desk{"desk": {}}))
	r := w.chain.Append(records.Session(records.SessionFacts{Subscriber: "S-1", End: time.Now()}), time.Now())
	if n := testing.AllocsPerRun(1000, func() { w.Take(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	chain, err := records.OpenChain(filepath.Join(b.TempDir(), "records.state"), "box-1")
	if err != nil {
		b.Fatal(err)
	}
	defer chain.Close()
	for _, row := range []struct {
		what string
		e    records.Entry
	}{
		{"session", records.Session(records.SessionFacts{Subscriber: "S-1", End: time.Now()})},
		{"stage that nobody is told of", stage("S-1", governor.StageObserve, governor.StageWarn)},
		{"stage", stage("S-1", governor.StageWarn, governor.StageCut)},
	} {
		r := chain.Append(row.e, time.Now())
		b.Run(row.what, func(b *testing.B) {
			s := &Service{in: make(chan Notice, taken)}
			s.setup.Store(&Setup{Stages: map[string]bool{"cut": true}, Targets: []Target{{Of: types([]string{"stages"})}}})
			b.ReportAllocs()
			for b.Loop() {
				s.Take(r)
				select {
				case <-s.in:
				default:
				}
			}
		})
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, row := range []struct{ why, mail, customer, key, part string }{
		{"ours", "", "", "", ""},
		{"the operator's", `{{define "subject"}}{{.Box}}{{end}}{{define "body"}}{{.Text}}{{end}}`, "Case {{.Case}}", "", ""},
		{"a field that does not exist", `{{define "subject"}}{{.Box}}{{end}}{{define "body"}}{{.Adress}}{{end}}`, "", "mail_template_file", "mail.txt:1:54: executing \"body\" at <.Adress>: can't evaluate field Adress"},
		{"one in a branch that is seldom taken", "", "{{if .Over}}{{.Nmae}}{{end}}{{if .Subscriber}}{{.Nmae}}{{end}}", "customer_template_file", "can't evaluate field Nmae"},
		{"no body", `{{define "subject"}}{{.Box}}{{end}}`, "", "mail_template_file", `has no {{define "body"}}`},
		{"a bracket left open", "", "Case {{.Case", "customer_template_file", "customer.txt:1: unclosed action"},
		{"an endless one", "", "{{range 9999999}}more and more and more {{end}}", "customer_template_file", "makes more than 65536 bytes"},
	} {
		paths := map[string]string{}
		for name, text := range map[string]string{"mail": row.mail, "customer": row.customer} {
			if text != "" {
				paths[name] = filepath.Join(dir, name+".txt")
				write(t, paths[name], text)
			}
		}
		_, err := ReadTemplates(paths["mail"], paths["customer"])
		if (err == nil) != (row.part == "") {
			t.Errorf("%s: %v", row.why, err)
			continue
		}
		if e, ok := errors.AsType[*TemplateError](err); err != nil && (!ok || e.Key != row.key || !strings.Contains(e.Error(), row.part)) {
			t.Errorf("%s: %v, want %s: ... %s", row.why, err, row.key, row.part)
		}
	}
}

// What a customer reads has no words of ours in it.
func TestTheCustomersTextIsPlain(t *testing.T) {
	t.Parallel()
	texts, err := ReadTemplates("", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range samples() {
		text, err := texts.Customer(n)
		if err != nil || (text == "") != (n.Type != StageChanged) {
			t.Errorf("%s: %q, %v", n.Type, text, err)
		}
		for _, word := range []string{"SMTP", "TLS", "port", "defer", "budget", "stage", "JA4", "421", "session", "subscriber", "\n\n\n"} {
			if strings.Contains(text, word) {
				t.Errorf("%q in %q", word, text)
			}
		}
		subject, body, err := texts.Mail(n)
		if err != nil || subject == "" || strings.Contains(subject, "\n") || body == "" || strings.Contains(body, "<no value>") {
			t.Errorf("mail %q, %q, %v", subject, body, err)
		}
	}
}

// A name from the list cannot add a header to a mail.
func TestAMailHasOnlyOurHeaders(t *testing.T) {
	t.Parallel()
	texts, err := ReadTemplates("", "")
	if err != nil {
		t.Fatal(err)
	}
	s := &smarthost{from: "box@isp.example", to: []string{"abuse@isp.example"}, texts: texts, box: "box\r\nBcc: a@b.example", now: time.Now}
	m, err := s.message(Notice{ID: "1", Type: StageChanged, Subscriber: "S-1\r\nBcc: everybody@example.net", From: "warn", To: "cut", Text: "\r\n.\r\nQUIT", Mode: "enforce"})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(b.String(), "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(strings.ToLower(line), "bcc") {
			t.Errorf("header %q", line)
		}
	}
	if !strings.Contains(head, "Auto-Submitted: auto-generated") || strings.Count(head, "\r\nTo: ") != 1 {
		t.Errorf("head\n%s", head)
	}
}
