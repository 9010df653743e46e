package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// files is a flag that may come several times.
type files []string

func (f *files) String() string     { return strings.Join(*f, " ") }
func (f *files) Set(s string) error { *f = append(*f, s); return nil }

func replayCommand(ctx context.Context, c *invocation) error {
	var captures files
	file := c.flags.String("config", "", "configuration file (required); of a journal also - for the standard input")
	c.flags.Var(&captures, "pcap", "pcap or pcapng file, also packed with gzip; - is the standard input; more may follow (required)")
	against := c.flags.String("against", "", "another configuration: show with whom it would have dealt differently")
	inForce := c.flags.String("in-force", "", "of the journal, in the place of --against: a file with what a running box goes by, as it writes it for its own what-ifs")
	journal := c.flags.String("journal", "", "directory of a box's journal, DATA/journal, in the place of captures; without --config: are the decisions in it made again, word by word?")
	progress := c.flags.String("progress", "", "of the journal: a file, such as a pipe or /dev/stderr, that is told how far it is, an object a line")
	since := c.flags.String("since", "", "of the journal: a duration (7d), a day, or a time (RFC 3339); all of it if left out")
	plans := c.flags.String("plans", "recorded", "of the journal: who is under which plan, as `recorded` or as the configuration's list says")
	asJSON := c.flags.Bool("json", false, "print JSON: of captures an object a line, one per session, and with --against one per subscriber with a difference; of a journal one object")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	captures = append(captures, rest...)
	switch {
	case *journal != "" && len(captures) > 0:
		return usagef("replay takes --journal DIR or --pcap FILE, not both")
	case *file == "-" && *journal == "" || *against == "-":
		return usagef("- in the place of a configuration is for --config beside --journal DIR")
	case *journal != "" && *file == "" && *against+*inForce != "", *against != "" && *inForce != "":
		return usagef("replay --journal needs --config FILE beside --against, or --in-force")
	case *journal != "":
		opt := appliance.WhatIfOptions{Journal: *journal, ConfigFile: *file, Against: *against, InForce: *inForce, ListPlans: *plans == "list"}
		if *plans != "list" && *plans != "recorded" {
			return usagef("--plans %q: recorded or list", *plans)
		}
		opt.Now = time.Now()
		if opt.From, err = sinceTime("--since", *since, opt.Now); err != nil {
			return err
		}
		if *progress != "" {
			to, err := os.OpenFile(*progress, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer to.Close()
			opt.Progress = saysProgress(to)
		}
		return whatIf(ctx, c, opt, *asJSON)
	case *since != "" || *plans != "recorded" || *inForce != "" || *progress != "":
		return usagef("--since, --plans, --in-force and --progress are of --journal DIR")
	case *file == "" || len(captures) == len(rest):
		return usagef("replay needs --config FILE and --pcap FILE, or --journal DIR")
	}

	out := bufio.NewWriterSize(c.stdout, 64<<10)
	opt := appliance.ReplayOptions{ConfigFile: *file, Against: *against, Captures: captures,
		Log:    slog.New(slog.NewTextHandler(c.stderr, nil)),
		Loaded: func(cfg *config.Config, table *subscriber.Table) { replayWarnings(c, cfg, table) }}
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	var broken error // printing: nobody reads any more
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if *asJSON {
		opt.Session = func(s *appliance.ReplayedSession) {
			if broken == nil {
				if broken = lines.Encode(s); broken != nil {
					stop()
				}
			}
		}
	}
	report, err := appliance.Replay(ctx, opt)
	if _, bad := errors.AsType[config.Problems](err); bad {
		return problems(c, err)
	}
	switch {
	case err != nil:
		return cmp.Or(broken, err, out.Flush())
	case *asJSON && report.Against != nil:
		for _, d := range differences(report) {
			broken = cmp.Or(broken, lines.Encode(differenceLine(&d)))
		}
	case !*asJSON:
		replaySummary(out, report)
	}
	var fault error
	if n := report.Run.Panics; n > 0 {
		fault = fmt.Errorf("%d packets could not be followed, which is a fault of this program; what else was printed is right", n)
	}
	return cmp.Or(broken, out.Flush(), fault, report.Damage)
}

// replayWarnings tells what of a configuration a replay cannot have.
func replayWarnings(c *invocation, cfg *config.Config, table *subscriber.Table) {
	warn := func(format string, args ...any) { fmt.Fprintf(c.stderr, "mailweir: warning: "+format+"\n", args...) }
	for _, w := range appliance.ListWarnings(table) {
		warn("%s", w)
	}
	if appliance.SubscribersMissing(cfg) {
		warn("%s is not there: every source is unmapped", cfg.SubscribersPath())
	}
	if cfg.Identity.RADIUS.Listen != "" || len(cfg.Identity.LeaseFiles) > 0 {
		warn("%s: who had an address then is not known from RADIUS or leases; the subscribers file alone counts", cfg.Path())
	}
}

// differences are those that the report has, the harshest first.
func differences(r *appliance.ReplayReport) []appliance.ReplayDifference {
	all := appliance.Differences(&r.Run, r.Against)
	slices.SortFunc(all, func(a, b appliance.ReplayDifference) int {
		return cmp.Or(cmp.Compare(max(b.One.Highest, b.Two.Highest), max(a.One.Highest, a.Two.Highest)), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// outcomeLine is what became of a subscriber.
type outcomeLine struct {
	Plan      string                    `json:"plan"`
	Sessions  int                       `json:"sessions"`
	Lo        int                       `json:"messages_lo"` // inside TLS estimated, as in a session's line
	Hi        int                       `json:"messages_hi"` // -1: no bound is known
	Highest   string                    `json:"highest_stage"`
	Why       string                    `json:"why,omitempty"`
	Stages    map[string]float64        `json:"stage_seconds"`
	Decisions appliance.ReplayDecisions `json:"decisions"`
}

func outcome(s *appliance.ReplaySubscriber) outcomeLine {
	o := outcomeLine{Plan: s.Plan, Sessions: s.Sessions, Lo: s.MessagesLo, Hi: s.MessagesHi, Highest: s.Highest.String(), Why: s.Why, Stages: map[string]float64{}, Decisions: s.Decisions}
	if s.Unbounded {
		o.Hi = -1
	}
	for stage, d := range s.In {
		o.Stages[stage.String()] = d.Seconds()
	}
	return o
}

func differenceLine(d *appliance.ReplayDifference) any {
	return struct {
		Subscriber string `json:"subscriber"`
		outcomeLine
		Against outcomeLine `json:"against"`
	}{d.ID, outcome(&d.One), outcome(&d.Two)}
}

// stages says how long somebody was in which stage, "pace 2m, defer 10s"; observe is where everybody is.
func stages(s *appliance.ReplaySubscriber) string {
	var parts []string
	for stage := governor.StageWarn; stage <= governor.StageCut; stage++ {
		if d, was := s.In[stage]; was {
			parts = append(parts, stage.String()+" "+lasting(d))
		}
	}
	if parts == nil {
		return s.Highest.String()
	}
	return strings.Join(parts, ", ")
}

// lasting is a duration as precisely as people want it.
func lasting(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	case d > 4*day:
		return fmt.Sprintf("%d days", d.Round(day)/day)
	}
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
