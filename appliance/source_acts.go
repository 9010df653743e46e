package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// audit says what a person did.
func (s *source) audit(who, what, object, before, after string) {
	f := records.AuditFacts{Time: s.a.now(), Who: who, What: what, Object: object, Before: before, After: after}
	if s.a.aside != nil {
		s.a.aside.add(f)
		return
	}
	s.a.writer.Say(records.Audit(f))
}

// Release forgives a subscriber everything, lets go of what is held and cut, says
// who did it, and has it on disk before it returns. It holds also when it cannot be
// saved, which saver and keeper tell: a customer who waits is not held for a disk.
func (s *source) Release(id, who string) (webadmin.Subscriber, error) {
	a, now := s.a, s.a.now()
	before := "observe"
	change, known := a.gov.Release(id, now)
	if !known {
		v, ok := s.Subscriber(id)
		if !ok {
			return webadmin.Subscriber{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
		}
		return v, nil // configured, and nothing to forgive
	}
	if change.From != governor.StageObserve {
		before = change.From.String()
		a.judge.changed(change, change.Mode)
	}
	after := "observe"
	if held := s.letGo(id); held > 0 {
		after = fmt.Sprintf("observe, %d held replies let go", held)
	}
	s.audit(who, "release", id, before, after)
	_, _ = a.saver.saveNow(), a.keeper.saveNow() // both have told
	v, _ := s.Subscriber(id)
	return v, nil
}

// Unrelease takes a release back. What was let go out then is out; like a release
// it holds also when it cannot be saved: then a restart would find the line released.
func (s *source) Unrelease(id, who string) (webadmin.Subscriber, error) {
	a, now := s.a, s.a.now()
	v, ok := s.Subscriber(id)
	if !ok {
		return webadmin.Subscriber{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
	}
	before := v.Stage
	changes, ok := a.gov.Unrelease(id, now)
	if !ok {
		return webadmin.Subscriber{}, webadmin.ErrNotReleased
	}
	for _, c := range changes {
		if c.To != governor.StageObserve {
			a.cases.reopen(c.Case)
		}
		a.judge.changed(c, c.Mode)
	}
	a.queues.Unlease() // what it may begin unasked is what the forgiven budgets allowed
	if v, ok = s.Subscriber(id); !ok {
		v = s.view(s.quiet(id))
	}
	s.audit(who, "unrelease", id, before, v.Stage)
	_, _ = a.saver.saveNow(), a.keeper.saveNow() // both have told
	return v, nil
}

// letGo ends what is done to a subscriber in the kernel, and gives how many held
// replies go on.
func (s *source) letGo(id string) (held int) {
	s.a.cutter.release(id)
	return s.a.queues.Unhold(ofSubscriber(id))
}

// Exempt lets everything of a subscriber pass until a time.
func (s *source) Exempt(id string, until time.Time, reason, who string) (webadmin.Subscriber, error) {
	a, now := s.a, s.a.now()
	v, ok := s.Subscriber(id)
	if !ok {
		return webadmin.Subscriber{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
	}
	r, _ := a.gov.Explain(id, now)
	if err := a.gov.Exempt(id, v.Plan, governor.Exemption{Until: until, Reason: reason, By: who}, now); err != nil {
		return webadmin.Subscriber{}, webadmin.Refused{Field: "until", Message: err.Error()}
	}
	if err := a.saver.saveNow(); err != nil {
		if r.Exemption == nil {
			a.gov.Unexempt(id, now)
		} else if back := a.gov.Exempt(id, v.Plan, *r.Exemption, now); back != nil {
			err = errors.Join(err, back)
		}
		return webadmin.Subscriber{}, err
	}
	s.letGo(id)
	after, _ := a.gov.Explain(id, now)
	s.audit(who, "exempt", id, exemptionOf(r), exemptionOf(after))
	v, _ = s.Subscriber(id)
	return v, nil
}

// Unexempt ends an exemption before its time.
func (s *source) Unexempt(id, who string) (webadmin.Subscriber, error) {
	a, now := s.a, s.a.now()
	v, ok := s.Subscriber(id)
	if !ok {
		return webadmin.Subscriber{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
	}
	x, ok := a.gov.Unexempt(id, now)
	if !ok {
		return webadmin.Subscriber{}, webadmin.ErrNotExempt
	}
	if err := a.saver.saveNow(); err != nil {
		return webadmin.Subscriber{}, errors.Join(err, a.gov.Exempt(id, v.Plan, x, now))
	}
	s.audit(who, "unexempt", id, exemptionText(x), "none")
	v, _ = s.Subscriber(id)
	return v, nil
}

func exemptionOf(r governor.Report) string {
	if r.Exemption == nil {
		return "none"
	}
	return exemptionText(*r.Exemption)
}

// SetPlan puts a subscriber under a plan, whatever the list says. Back to the list's
// goes everybody for whom a plan was chosen, also who is not there any more.
func (s *source) SetPlan(id, plan, who string) (webadmin.Subscriber, error) {
	a := s.a
	a.plans.Lock()
	defer a.plans.Unlock()
	if names := a.cfg.Load().PlanNames(); plan != "" && !slices.Contains(names, plan) {
		return webadmin.Subscriber{}, webadmin.Refused{Field: "plan", Message: fmt.Sprintf("there is no plan %q; there are %s", plan, strings.Join(names, ", "))}
	}
	chosen := a.who.Chosen(id)
	v, ok := s.Subscriber(id)
	if !ok {
		if plan != "" || chosen == "" {
			return webadmin.Subscriber{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
		}
		v = s.view(s.quiet(id))
	}
	switch err := a.who.SetPlan(id, plan); {
	case errors.Is(err, subscriber.ErrFull):
		return webadmin.Subscriber{}, webadmin.Refused{Field: "plan", Message: fmt.Sprintf("already %d subscribers have a plan of their own; give such lines their plan in the list", subscriber.MaxPlans)}
	case err != nil:
		return webadmin.Subscriber{}, fmt.Errorf("%w: %q: %w", webadmin.ErrUnknownSubscriber, id, err)
	}
	if err := a.keeper.saveAddresses(); err != nil {
		return webadmin.Subscriber{}, errors.Join(err, a.who.SetPlan(id, chosen))
	}
	if c, ok := a.gov.SetPlan(id, a.who.planOf(id), a.now()); ok {
		a.judge.changed(c, c.Mode)
	}
	if !a.isCut(id) { // be it that an attempt has noticed the plan before us
		a.cutter.release(id)
	}
	a.queues.Unlease()
	a.queues.Unhold(ofSubscriber(id)) // what is held waits by the rules of a plan that is not its any more
	before := v.Plan
	if v, ok = s.Subscriber(id); !ok {
		v = s.view(s.quiet(id))
	}
	s.audit(who, "plan", id, before, v.Plan)
	return v, nil
}

// Bind gives a prefix to a subscriber from now on, whoever had it.
func (s *source) Bind(prefix netip.Prefix, id, who string) (webadmin.Binding, error) {
	a, now := s.a, s.a.now()
	b := subscriber.Binding{Prefix: prefix, Subscriber: id, Source: subscriber.API}
	before := s.bound(prefix)
	switch _, err := a.who.Bind(b, now, now); {
	case errors.Is(err, subscriber.ErrUnknownLine):
		return webadmin.Binding{}, fmt.Errorf("%w: %q", webadmin.ErrUnknownSubscriber, id)
	case errors.Is(err, subscriber.ErrInvalid):
		return webadmin.Binding{}, webadmin.Refused{Field: "prefix", Message: "no customer can have " + prefix.String()}
	case err != nil:
		return webadmin.Binding{}, err
	}
	a.moved()
	if err := a.keeper.saveAddresses(); err != nil {
		if before.Subscriber == "" {
			a.who.Unbind(subscriber.API, prefix, now, now)
		} else if _, back := a.who.Bind(before, now, now); back != nil {
			err = errors.Join(err, back)
		}
		return webadmin.Binding{}, err
	}
	if before.Subscriber != id {
		s.audit(who, "bind", prefix.String(), before.Subscriber, id)
	}
	return bindingView(s.bound(prefix)), nil
}

// bound is the binding of the API's on just this prefix; the zero one when there
// is none.
func (s *source) bound(prefix netip.Prefix) subscriber.Binding {
	for _, b := range s.a.who.Session(subscriber.API, "") {
		if b.Prefix == prefix {
			return b
		}
	}
	return subscriber.Binding{}
}

// Unbind ends a binding of the API's.
func (s *source) Unbind(prefix netip.Prefix, who string) (webadmin.Binding, error) {
	a, now := s.a, s.a.now()
	b := s.bound(prefix)
	if _, ok := a.who.Unbind(subscriber.API, prefix, now, now); !ok {
		return webadmin.Binding{}, webadmin.ErrNotBound
	}
	a.moved()
	if err := a.keeper.saveAddresses(); err != nil {
		_, back := a.who.Bind(b, now, now)
		return webadmin.Binding{}, errors.Join(err, back)
	}
	s.audit(who, "unbind", prefix.String(), b.Subscriber, a.who.of(prefix.Addr()).id)
	b.Until = now
	return bindingView(b), nil
}
