package appliance

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A release that was answered is on disk.
func TestAReleaseOutlivesAPowerCut(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for range 4 {
		d.session("home", "small")
	}
	d.save()
	r, _ := d.gov.Explain("home", d.time())
	if r.Stage != governor.StageDefer || r.Case == "" {
		t.Fatalf("%+v", r)
	}
	d.pass(time.Minute)
	if v, err := (&source{a: d.Appliance}).Release("home", "me"); err != nil || v.Stage != "observe" {
		t.Fatal(v, err)
	}
	if got := d.told(records.KindAudit); len(got) != 1 || got[0] != "me: release home | defer -> observe" {
		t.Errorf("%q", got)
	}
	d.cut()
	d.start()
	if r, _ := d.gov.Explain("home", d.time()); r.Stage != governor.StageObserve {
		t.Errorf("after a power cut %v", r.Stage)
	}
	if f, ok := d.cases.file(r.Case); !ok || !f.Closed.Equal(d.time()) || !strings.Contains(f.Changes[len(f.Changes)-1].Reason, "released") {
		t.Errorf("the case is %v %+v", ok, f)
	}
}

// A release that is taken back has the line as it was, its case goes on under its number, also where it is held, and it is
// on disk; it cannot be taken back twice, nor after a restart.
func TestAReleaseIsTakenBack(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := func() *source { return &source{a: d.Appliance} }
	for range 4 {
		d.session("home", "small")
	}
	before, _ := d.gov.Explain("home", d.time())
	if _, err := s().Unrelease("home", "me"); !errors.Is(err, webadmin.ErrNotReleased) {
		t.Error(err)
	}
	if _, err := s().Hold(before.Case, "court order", "me"); err != nil {
		t.Fatal(err)
	}
	d.pass(time.Minute)
	v, err := s().Release("home", "me")
	if err != nil || v.Released == nil || !v.Released.Until.Equal(d.time().Add(governor.UndoFor)) {
		t.Fatal(v, err)
	}
	d.holdsEnd()
	if held, _ := d.journal.Holds(); len(held) != 1 || held[0].To.IsZero() {
		t.Errorf("%+v", held)
	}
	d.pass(time.Minute)
	d.session("home", "small")
	if v, err = s().Unrelease("home", "me"); err != nil || v.Stage != "defer" || v.Released != nil || v.Case != before.Case || !v.Since.Equal(before.Since) || v.Budgets[0].Value != 2 {
		t.Fatalf("%+v %v", v, err)
	}
	if got := d.told(records.KindAudit); len(got) != 3 || got[2] != "me: unrelease home | warn -> defer" {
		t.Errorf("%q", got)
	}
	if got := d.told(records.KindStage); !strings.Contains(got[len(got)-1], "the release was taken back") {
		t.Errorf("%q", got)
	}
	f, _ := d.cases.file(before.Case)
	if last := f.Changes[len(f.Changes)-1]; !f.Closed.IsZero() || f.Stage != governor.StageDefer || last.Reason != "the release was taken back" || d.cases.missed() != 0 {
		t.Errorf("%+v, %d changes are in no case", f, d.cases.missed())
	}
	d.holdsEnd()
	if held, _ := d.journal.Holds(); len(held) != 1 || !held[0].To.IsZero() {
		t.Errorf("%+v", held)
	}
	d.cut()
	d.start()
	if r, _ := d.gov.Explain("home", d.time()); r.Stage != governor.StageDefer || r.Case != before.Case {
		t.Errorf("after a power cut %+v", r)
	}
	if _, err := s().Release("home", "me"); err != nil {
		t.Fatal(err)
	}
	d.cut()
	d.start()
	if _, err := s().Unrelease("home", "me"); !errors.Is(err, webadmin.ErrNotReleased) {
		t.Error(err)
	}
	if v, ok := s().Subscriber("home"); !ok || v.Stage != "observe" {
		t.Error(v.Stage)
	}
}

// What cannot be saved is released all the same, and told.
func TestAReleaseThatCannotBeSavedHolds(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for range 4 {
		d.session("home", "small")
	}
	d.save()
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := (&source{a: d.Appliance}).Release("home", "me"); err != nil || v.Stage != "observe" {
		t.Fatal(v, err)
	}
	if ok, why := d.saver.status(); ok || why == "" {
		t.Error("nobody would know")
	}
	health := strings.Join(d.told(records.KindHealth), "\n")
	if !strings.Contains(health, "store") || !strings.Contains(health, "keeper") {
		t.Errorf("%q", health)
	}
}

// badCase puts a case into the casebook that cannot be written.
func (d *deaf) badCase() {
	c := opens("0000Z", "S-9")
	c.Until = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) // no year that JSON has
	d.cases.note(c)
}

var lent = netip.MustParsePrefix("100.64.8.8/32")

// A plan or a binding that is on disk is answered so, whatever becomes of a case.
func TestACaseThatCannotBeWrittenBreaksNoPromise(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	d.badCase()
	if v, err := s.SetPlan("home", "large", "me"); err != nil || v.Plan != "large" || v.ListPlan != "small" {
		t.Error(v, err)
	}
	if v, err := s.Bind(lent, "home", "me"); err != nil || v.Subscriber != "home" {
		t.Error(v, err)
	}
	if v, err := s.Bind(lent, "other", "me"); err != nil || v.Subscriber != "other" {
		t.Error(v, err)
	}
	if err := d.keeper.saveNow(); err == nil {
		t.Error("the case was written")
	}
	if ok, why := d.saved(); ok || !strings.Contains(why, "0000Z") {
		t.Errorf("%v %q", ok, why)
	}
	d.cut()
	d.start()
	if d.planOf("home") != "large" || d.who.of(lent.Addr()).id != "other" {
		t.Error(d.planOf("home"), d.who.of(lent.Addr()))
	}
	s = &source{a: d.Appliance}
	d.badCase()
	if v, err := s.Unbind(lent, "me"); err != nil || v.Subscriber != "other" {
		t.Error(v, err)
	}
	d.cut()
	d.start()
	if got := d.who.of(lent.Addr()); got.binding != "" {
		t.Error(got)
	}
}

// What cannot be saved did not happen: nobody is told otherwise, no record says so,
// and it does not come about later.
func TestWhatCannotBeSavedDidNotHappen(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	if _, err := s.Bind(lent, "home", "me"); err != nil {
		t.Fatal(err)
	}
	other := netip.MustParsePrefix("100.64.8.9/32")
	audits := d.told(records.KindAudit)
	mend := d.fails()
	if _, err := s.SetPlan("home", "large", "me"); err == nil || d.planOf("home") != "small" || d.who.Chosen("home") != "" {
		t.Error(err, d.planOf("home"))
	}
	if _, err := s.Bind(other, "home", "me"); err == nil || d.who.of(other.Addr()).binding != "" {
		t.Error(err, d.who.of(other.Addr()))
	}
	if _, err := s.Bind(lent, "other", "me"); err == nil || d.who.of(lent.Addr()).id != "home" {
		t.Error(err, d.who.of(lent.Addr()))
	}
	if _, err := s.Unbind(lent, "me"); err == nil || d.who.of(lent.Addr()).id != "home" {
		t.Error(err, d.who.of(lent.Addr()))
	}
	mend()

	until := d.time().Add(time.Hour)
	good := d.saver.store
	d.saver.store = broken(t)
	if _, err := s.Exempt("home", until, "a move", "me"); err == nil || exempt(d, "home") != nil {
		t.Error(err, exempt(d, "home"))
	}
	d.saver.store = good
	if _, err := s.Exempt("home", until, "a move", "me"); err != nil || exempt(d, "home") == nil {
		t.Fatal(err)
	}
	d.saver.store = broken(t)
	if _, err := s.Exempt("home", until.Add(time.Hour), "more", "you"); err == nil || exempt(d, "home").Reason != "a move" || !exempt(d, "home").Until.Equal(until) {
		t.Error(err, exempt(d, "home"))
	}
	if _, err := s.Unexempt("home", "me"); err == nil || exempt(d, "home") == nil || !exempt(d, "home").Until.Equal(until) {
		t.Error(err, exempt(d, "home"))
	}
	d.saver.store = good
	if got := d.told(records.KindAudit); len(got) != len(audits)+1 || !strings.Contains(got[len(got)-1], "me: exempt home") {
		t.Errorf("%q", got)
	}
	d.save()
	d.cut()
	d.start()
	if d.planOf("home") != "small" || d.who.of(lent.Addr()).id != "home" || d.who.of(other.Addr()).binding != "" || exempt(d, "home") == nil {
		t.Error(d.planOf("home"), d.who.of(lent.Addr()), d.who.of(other.Addr()), exempt(d, "home"))
	}
}

func exempt(d *deaf, id string) *governor.Exemption {
	r, _ := d.gov.Explain(id, d.time())
	return r.Exemption
}

// What cannot be done at all is refused, and which field is wrong is said.
func TestActsThatAreRefused(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	_, noPlan := s.SetPlan("home", "golden", "me")
	_, loopback := s.Bind(netip.MustParsePrefix("127.0.0.1/32"), "home", "me")
	_, ended := s.Exempt("home", d.time(), "late", "me")
	for field, err := range map[string]error{"plan": noPlan, "prefix": loopback, "until": ended} {
		if r, ok := errors.AsType[webadmin.Refused](err); !ok || r.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	_, released := s.Release("nobody", "me")
	_, taken := s.Unrelease("nobody", "me")
	_, planned := s.SetPlan("nobody", "large", "me")
	_, exempted := s.Exempt("nobody", d.time().Add(time.Hour), "why", "me")
	_, unexempted := s.Unexempt("nobody", "me")
	_, bound := s.Bind(lent, "nobody", "me")
	for i, err := range []error{released, taken, planned, exempted, unexempted, bound} {
		if !errors.Is(err, webadmin.ErrUnknownSubscriber) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := s.Unexempt("home", "me"); !errors.Is(err, webadmin.ErrNotExempt) {
		t.Error(err)
	}
	if _, err := s.Unbind(lent, "me"); !errors.Is(err, webadmin.ErrNotBound) {
		t.Error(err)
	}
	if v, err := s.Release("home", "me"); err != nil || v.Stage != "observe" {
		t.Error(v, err) // nothing to forgive
	}
	if got := d.told(records.KindAudit); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
