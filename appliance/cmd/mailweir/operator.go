package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// operation is a command that does something to one subscriber: the flags that all of them have.
type operation struct {
	data   *string
	asJSON *bool
}

func (c *invocation) operation() operation {
	return operation{
		data:   c.flags.String("data", defaultData, "data directory of the running one"),
		asJSON: c.flags.Bool("json", false, "print the subscriber as JSON, as the API's /subscribers/ID"),
	}
}

// do asks the running one, and says what it did: said gets the subscriber afterwards.
func (o operation) do(ctx context.Context, c *invocation, method string, elements []string, body any, said func(webadmin.Subscriber) string) error {
	var s webadmin.Subscriber
	if err := newClient(*o.data).call(ctx, method, append([]string{"subscribers"}, elements...), nil, body, &s); err != nil {
		return err
	}
	if *o.asJSON {
		return printJSON(c.stdout, s)
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s\n", plain(s.ID), said(s))
	return err
}

func releaseCommand(ctx context.Context, c *invocation) error {
	o := c.operation()
	undo := c.flags.Bool("undo", false, "take the release back: budgets, stage and case as they would be by now without it")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] == "" {
		return usagef("release takes one subscriber ID; `mailweir subscribers` lists them")
	}
	if *undo {
		return o.do(ctx, c, http.MethodDelete, []string{rest[0], "release"}, nil, func(s webadmin.Subscriber) string {
			return "is released no more: stage " + s.Stage
		})
	}
	return o.do(ctx, c, http.MethodPost, []string{rest[0], "release"}, nil, func(s webadmin.Subscriber) string {
		said := fmt.Sprintf("is released: stage %s, budgets full", s.Stage)
		if s.Released != nil {
			said += fmt.Sprintf("; until %s `mailweir release %s --undo` takes it back", s.Released.Until.Local().Format(time.TimeOnly), plain(s.ID))
		}
		return said
	})
}

func exemptCommand(ctx context.Context, c *invocation) error {
	o := c.operation()
	until := c.flags.String("until", "", "when it ends: a duration (36h, 7d), a day (2026-12-31, its end, local time) or a time (RFC 3339); at most 366 days ahead")
	reason := c.flags.String("reason", "", "why, for the records")
	end := c.flags.Bool("end", false, "end the exemption now")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] == "" {
		return usagef("exempt takes one subscriber ID; `mailweir subscribers` lists them")
	}
	if *end {
		if *until != "" || *reason != "" {
			return usagef("--end takes neither --until nor --reason")
		}
		return o.do(ctx, c, http.MethodDelete, []string{rest[0], "exemption"}, nil, func(s webadmin.Subscriber) string {
			return fmt.Sprintf("is exempt no more: plan %s applies, stage %s", s.Plan, s.Stage)
		})
	}
	if *until == "" || strings.TrimSpace(*reason) == "" {
		return usagef("exempt needs --until T and --reason R: no exemption is without an end, nor without a reason")
	}
	at, err := untilTime(*until, time.Now())
	if err != nil {
		return err
	}
	body := map[string]string{"until": at.UTC().Format(time.RFC3339Nano), "reason": *reason}
	return o.do(ctx, c, http.MethodPost, []string{rest[0], "exemption"}, body, func(s webadmin.Subscriber) string {
		return fmt.Sprintf("is exempt until %s: it passes, counted as ever", at.Local().Format(time.DateTime+" MST"))
	})
}

// untilTime reads the end of an exemption.
func untilTime(text string, now time.Time) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = webadmin.EndOfDay(text, time.Local)
	}
	if err != nil {
		d, bad := config.ParseDuration(text)
		if bad != nil {
			return time.Time{}, usagef("--until %q: a duration like 36h or 7d, a day like 2026-12-31, or a time like 2026-12-31T12:00:00Z", text)
		}
		at = now.Add(d)
	}
	switch {
	case !at.After(now):
		return time.Time{}, usagef("--until %s: must be in the future", text)
	case at.Sub(now) > webadmin.LongestExemption:
		return time.Time{}, usagef("--until %s: at most 366 days ahead; prolong it when it is due", text)
	}
	return at, nil
}

func planCommand(ctx context.Context, c *invocation) error {
	o := c.operation()
	list := c.flags.Bool("list", false, "go back to the plan that the subscribers' list says")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	plan := ""
	switch {
	case *list && len(rest) == 1 && rest[0] != "":
	case !*list && len(rest) == 2 && rest[0] != "" && rest[1] != "":
		plan = rest[1]
	default:
		return usagef("plan takes a subscriber ID and a PLAN, or an ID and --list; `mailweir check` shows the plans")
	}
	return o.do(ctx, c, http.MethodPatch, []string{rest[0]}, map[string]string{"plan": plan}, func(s webadmin.Subscriber) string {
		if s.PlanSource == "operator" {
			return fmt.Sprintf("is under plan %s; the list says %s", s.Plan, cmp.Or(s.ListPlan, "nothing"))
		}
		if s.Plan == "" {
			return "is in no list; the plan chosen for it is forgotten"
		}
		return fmt.Sprintf("is under plan %s, as the list says", s.Plan)
	})
}
