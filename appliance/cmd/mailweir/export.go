package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// exportKinds are the words after `mailweir export` and which records they mean; none: all.
var exportKinds = map[string][]records.Kind{
	"sessions": {records.KindSession}, "decisions": {records.KindDecision}, "stages": {records.KindStage}, "records": nil,
}

func exportCommand(ctx context.Context, c *invocation) error {
	data := c.flags.String("data", defaultData, "data directory; it need not run, but for series")
	format := c.flags.String("format", "csv", "csv, or json with an object a line")
	subscriber := c.flags.String("subscriber", "", "of this one only")
	number := c.flags.String("case", "", "what names this case or is held by it")
	from := c.flags.String("from", "", "a duration ago (7d), a day, or a time")
	to := c.flags.String("to", "", "the same; not included")
	step := c.flags.String("step", "1h", "of series: 1m, 1h or 24h")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) != 1 || *format != "csv" && *format != "json" {
		return usagef("export takes one of sessions, decisions, stages, records, series, and --format csv or json")
	}
	q := journal.Query{Subscriber: *subscriber, Case: *number}
	if q.From, err = sinceTime("--from", *from, time.Now()); err != nil {
		return err
	}
	if q.To, err = sinceTime("--to", *to, time.Now()); err != nil {
		return err
	}
	out := bufio.NewWriterSize(c.stdout, 64<<10)
	if rest[0] == "series" {
		return cmp.Or(exportSeries(ctx, out, newClient(*data), *step, q, *format == "json"), out.Flush())
	}
	kinds, known := exportKinds[rest[0]]
	if !known {
		return usagef("export: there is no %q; there are sessions, decisions, stages, records, series", rest[0])
	}
	q.Kinds = kinds
	r, err := journal.Read(journal.Dir(*data))
	if err != nil {
		return err
	}
	write := appliance.ExportCSV
	if *format == "json" {
		write = appliance.ExportJSON
	}
	_, err = write(out, r, q)
	return cmp.Or(err, out.Flush())
}

// exportSeries writes the encrypted share, as the running one has it.
func exportSeries(ctx context.Context, out io.Writer, api *client, step string, q journal.Query, asJSON bool) error {
	query := url.Values{"step": {step}}
	for name, t := range map[string]time.Time{"from": q.From, "to": q.To} {
		if !t.IsZero() {
			query.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	points, err := all[webadmin.SharePoint](ctx, api, []string{"share"}, query)
	if err != nil {
		return err
	}
	lines, table := json.NewEncoder(out), csv.NewWriter(out)
	table.UseCRLF = true
	if !asJSON {
		table.Write(strings.Fields("start clear_sessions clear_bytes starttls_sessions starttls_bytes implicit_sessions implicit_bytes unknown_sessions unknown_bytes encrypted"))
	}
	for _, p := range points {
		if asJSON {
			if err := lines.Encode(p); err != nil {
				return err
			}
			continue
		}
		row := []string{p.Start.UTC().Format(time.RFC3339)}
		for _, c := range []webadmin.Counted{p.Clear, p.StartTLS, p.Implicit, p.Unknown} {
			row = append(row, strconv.FormatUint(c.Sessions, 10), strconv.FormatUint(c.Bytes, 10))
		}
		table.Write(append(row, strconv.FormatFloat(p.Encrypted, 'f', 4, 64)))
	}
	table.Flush()
	return table.Error()
}

func holdCommand(ctx context.Context, c *invocation) error {
	o := c.flags.String("data", defaultData, "data directory of the running one")
	reason := c.flags.String("reason", "", "why, for the records")
	end := c.flags.Bool("end", false, "end the hold: what is beyond its time goes within a minute")
	asJSON := c.flags.Bool("json", false, "print JSON")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	api := newClient(*o)
	switch {
	case len(rest) == 0 && !*end && *reason == "":
		return holdList(ctx, c, api, *asJSON)
	case len(rest) != 1 || rest[0] == "":
		return usagef("hold takes one case NUMBER; without any it lists what is held")
	case *end == (strings.TrimSpace(*reason) != ""):
		return usagef("hold NUMBER needs either --reason R or --end")
	}
	method, body := http.MethodPost, any(map[string]string{"reason": *reason})
	if *end {
		method, body = http.MethodDelete, nil
	}
	var h webadmin.Hold
	if err := api.call(ctx, method, []string{"cases", rest[0], "hold"}, nil, body, &h); err != nil {
		return err
	}
	if *asJSON {
		return printJSON(c.stdout, h)
	}
	if *end {
		_, err = fmt.Fprintf(c.stdout, "case %s of %s is held no more\n", h.Case, plain(h.Subscriber))
	} else {
		_, err = fmt.Fprintf(c.stdout, "case %s of %s is held: what belongs to it stays until `mailweir hold %s --end`\n", h.Case, plain(h.Subscriber), h.Case)
	}
	return err
}

func holdList(ctx context.Context, c *invocation, api *client, asJSON bool) error {
	var list webadmin.Holds
	if err := api.get(ctx, []string{"holds"}, nil, &list); err != nil {
		return err
	}
	var unknown error
	if list.Unknown != "" {
		unknown = fmt.Errorf("it is not known which cases are held, so that nothing of any case is deleted: %s", list.Unknown)
	}
	switch {
	case asJSON:
		return errors.Join(printJSON(c.stdout, list), unknown)
	case len(list.Items) == 0 && unknown != nil:
		return unknown
	case len(list.Items) == 0:
		_, err := fmt.Fprintln(c.stdout, "no case is held")
		return err
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CASE\tSUBSCRIBER\tFROM\tTO\tBY\tREASON")
	for _, h := range list.Items {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Case, plain(h.Subscriber), clock(h.From), clock(h.To), plain(h.By), plain(h.Reason))
	}
	return errors.Join(w.Flush(), unknown)
}
