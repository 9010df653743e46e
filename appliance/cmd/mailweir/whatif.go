package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// sinceTime reads the time of a flag: zero if it is empty.
func sinceTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	at, err := webadmin.ParsePast(text, now, time.Local)
	if err != nil {
		return time.Time{}, usagef("%s %q: a duration like 36h or 7d, a day like 2026-12-31, or a time like 2026-12-31T12:00:00Z", flag, text)
	}
	return at, nil
}

// progressEvery is how often it is said how far a what-if is, at most, while it does the same.
const progressEvery = 100 * time.Millisecond

// saysProgress writes how far it is, an object a line. Whoever reads that may go: it is nobody's work.
func saysProgress(to io.Writer) func(webadmin.WhatIfProgress) {
	var last webadmin.WhatIfProgress
	var said time.Time
	return func(p webadmin.WhatIfProgress) {
		if now := time.Now(); p.Doing != last.Doing || now.Sub(said) >= progressEvery {
			last, said = p, now
			_ = json.NewEncoder(to).Encode(p)
		}
	}
}

// whatIf replays a journal.
func whatIf(ctx context.Context, c *invocation, opt appliance.WhatIfOptions, asJSON bool) error {
	opt.Loaded = func(cfg *config.Config, table *subscriber.Table) {
		for _, w := range appliance.ListWarnings(table) {
			fmt.Fprintf(c.stderr, "mailweir: warning: %s\n", w)
		}
	}
	opt.Unlisted = func(file string, why error) {
		if all, ok := errors.AsType[config.Problems](why); ok {
			why = all.Few(appliance.LoggedProblems)
		}
		fmt.Fprintf(c.stderr, "mailweir: warning: the list of subscribers %s cannot be used, and plans are those of the journal (--plans list needs it): %s\n", plain(file), oneLine(why))
	}
	report, err := appliance.WhatIf(ctx, opt)
	if _, bad := errors.AsType[config.Problems](err); bad {
		return problems(c, err)
	}
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(c.stdout, 64<<10)
	if asJSON {
		err = printJSON(out, report.View())
	} else {
		whatIfText(out, report)
	}
	if err = cmp.Or(err, out.Flush()); err != nil {
		return err
	}
	if r := report.Recorded; r != nil && r.OnlyThen+r.OnlyNow > 0 {
		return fmt.Errorf("%d decisions of the journal were not made again, and %d were made that it does not have", r.OnlyThen, r.OnlyNow)
	} else if r != nil && r.Covered == 0 {
		return fmt.Errorf("nothing could be checked, and %d records were not: the journal has neither a start of the box nor a checkpoint before them; one is made eight times within retention.sessions at least", r.Unchecked)
	}
	return nil
}

// whatIfText prints a what-if for people.
func whatIfText(out io.Writer, r *appliance.WhatIfReport) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	defer w.Flush() // the writer below tells of errors
	if r.Inputs == 0 {
		fmt.Fprintf(w, "journal\tnothing in it of that time\n")
		return
	}
	fmt.Fprintf(w, "journal\t%d sessions, %s to %s UTC (%s), %d starts of the box\n", r.Sessions,
		r.First.UTC().Format(time.DateTime), r.Last.UTC().Format(time.DateTime), lasting(r.Last.Sub(r.First)), r.Lives)
	if r.Missing > 0 {
		fmt.Fprintf(w, "\tat least %d things that the governor was told are missing; what comes after is an estimate\n", r.Missing)
	}
	for _, l := range r.Lacks {
		fmt.Fprintf(w, "\tin %s: %s\n", whereMissing(&l), l.Why)
	}
	if rec := r.Recorded; rec != nil {
		fmt.Fprintf(w, "records\t%d decisions and changes of stage were made again as they are recorded; %d were not, %d have no record\n", rec.Same, rec.OnlyThen, rec.OnlyNow)
		if rec.CutOff > 0 {
			fmt.Fprintf(w, "\t%d of the last moments before a crash, or before now, have no record yet\n", rec.CutOff)
		}
		if rec.Unchecked > 0 {
			fmt.Fprintf(w, "\t%d records, of %s to %s UTC, were NOT checked: what the governor knew then, or was told, is not in the journal\n", rec.Unchecked,
				rec.First.UTC().Format(time.DateTime), rec.Last.UTC().Format(time.DateTime))
		}
		for _, e := range rec.Examples {
			fmt.Fprintf(w, "\t%s\n", plain(e))
		}
	}
	whatIfLines(w, &r.Run)
	if r.Against == nil {
		subscriberTable(w, r.Run.Subscribers)
		return
	}
	whatIfLines(w, r.Against)
	differenceTable(w, &appliance.ReplayReport{Run: r.Run.ReplayRun, Against: &r.Against.ReplayRun})
}

// whereMissing says where something is missing.
func whereMissing(l *appliance.Lack) string {
	text := count(l.Places, "place", "places")
	switch {
	case l.File == "":
	case l.Files > 1:
		text += fmt.Sprintf(", %s and %s", plain(l.File), count(l.Files-1, "more file", "more files"))
	default:
		text += ", " + plain(l.File)
	}
	return text
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func whatIfLines(w io.Writer, r *appliance.WhatIfRun) {
	runLines(w, &r.ReplayRun)
	switch r.List {
	case appliance.ListInForce:
		fmt.Fprintf(w, "\tits list of subscribers is the one in force, which the box has in memory: the file is another one by now, or has an error\n")
	case appliance.ListRecorded:
		fmt.Fprintf(w, "\tits list of subscribers cannot be read: who had a plan that is not here is under that of who is in no list\n")
	}
	if r.Guessed > 0 {
		fmt.Fprintf(w, "\t%d sessions were denied then and would not have been: what they would have sent nobody knows\n", r.Guessed)
	}
	above := map[governor.Stage]int{}
	for _, s := range r.Subscribers {
		above[s.Highest]++
	}
	var parts []string
	for stage := governor.StageWarn; stage <= governor.StageCut; stage++ {
		if n := above[stage]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, stage))
		}
	}
	if parts != nil {
		fmt.Fprintf(w, "\tat worst: %s\n", strings.Join(parts, ", "))
	}
}
