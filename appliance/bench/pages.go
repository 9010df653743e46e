package bench

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/figures"
	"github.com/mailweir/mailweir/appliance/bench/helper"
)

// pagesGoals are of the page of subscribers, on a box with nothing else to do.
var pagesGoals = []goal{
	{what: "page of subscribers, the first one, median", from: "first median-ms", unit: "ms", most: 100},
	{what: "of those in stage observe, median", from: "observe median-ms", unit: "ms", most: 100},
	{what: "the next page, and the next, median", from: "next median-ms", unit: "ms", most: 100},
	{what: "the API's first page of 100, median", from: "api median-ms", unit: "ms", most: 100},
	{what: "a search by name, and the page of the line that it finds, median", from: "line median-ms", unit: "ms", told: true},
	{what: "a search that goes through all and finds nobody, median", from: "nobody median-ms", unit: "ms", told: true},
	{what: "the slowest of all of these: the order of all is made anew every few seconds", from: "all slowest-ms", unit: "ms", told: true},
	{what: "rows on one page, at most", from: "all rows", unit: "", most: 100, always: true},
	{what: "bytes of one page, at most", from: "all bytes", unit: "bytes", told: true},
}

// pagesTask is somebody who opens each of these pages so many times, in turn.
type pagesTask struct {
	Reader readerTask
	Each   int
}

type pagesResult struct {
	Took        map[string][]time.Duration // by kind of page
	Rows, Bytes int                        // the most of one page
}

// kindsOfPages leads to the next page of each kind; before is the one of its kind that came last.
var kindsOfPages = []struct {
	name string
	path func(r *reader, n int, before string) string
}{
	{"first", func(*reader, int, string) string { return "/subscribers" }},
	{"observe", func(*reader, int, string) string { return "/subscribers?stage=observe" }},
	{"next", func(_ *reader, _ int, before string) string {
		if m := nextPage.FindStringSubmatch(before); m != nil {
			return html.UnescapeString(m[1])
		}
		return "/subscribers"
	}},
	{"line", func(r *reader, n int, _ string) string {
		return "/subscribers?q=" + url.QueryEscape(r.Words[n%len(r.Words)])
	}},
	{"api", func(*reader, int, string) string { return "/api/v1/subscribers?limit=100" }},
	{"nobody", func(*reader, int, string) string { return "/subscribers?q=nobody-of-this-name" }},
}

var nextPage = regexp.MustCompile(`href="([^"]*)" rel="next"`)

func openPages(task pagesTask, stop <-chan struct{}) (pagesResult, error) {
	all := pagesResult{Took: map[string][]time.Duration{}}
	r, err := newReader(task.Reader)
	if err == nil {
		err = r.login()
	}
	if err != nil {
		return all, err
	}
	before := map[string]string{}
	for n := range task.Each {
		for _, kind := range kindsOfPages {
			began := time.Now()
			body, err := r.get(kind.path(r, n, before[kind.name]))
			if err != nil {
				return all, err
			}
			all.Took[kind.name] = append(all.Took[kind.name], time.Since(began))
			before[kind.name] = string(body)
			all.Rows = max(all.Rows, strings.Count(before[kind.name], `<tr id="line-`))
			all.Bytes = max(all.Bytes, len(body))
		}
		select {
		case <-stop:
			return all, errors.New("stopped before the end")
		default:
		}
	}
	return all, nil
}

// measurePages asks a box with everybody restored for its pages, one at a time, while nothing else goes on.
func measurePages(ctx context.Context, o Options) (_ measures, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := newRig(ctx, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("build the network: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := newWorld(r, o)
	if err != nil {
		return nil, err
	}
	b, err := r.startBox(ctx, w, o.Mailweir, settled, longList, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.quiet(ctx, o.Calm); err != nil {
		return nil, err
	}
	task, err := b.readerOf(readPages)
	if err != nil {
		return nil, err
	}
	all := measures{}
	for i := range o.Benchmarks {
		h, err := helper.Start(ctx, r.Box, 0, "pages", pagesTask{task, o.Pages})
		if err != nil {
			return nil, err
		}
		var one pagesResult
		if err := h.Result(&one); err != nil {
			return nil, err
		}
		var slowest figures.Spread
		for _, kind := range kindsOfPages {
			var took figures.Spread
			for _, d := range one.Took[kind.name] {
				took = append(took, float64(d.Microseconds())/1000)
			}
			all[kind.name+" median-ms"] = append(all[kind.name+" median-ms"], took.Median())
			slowest = append(slowest, took.Max())
		}
		all["all slowest-ms"] = append(all["all slowest-ms"], slowest.Max())
		all["all rows"], all["all bytes"] = append(all["all rows"], float64(one.Rows)), append(all["all bytes"], float64(one.Bytes))
		o.progress("%d/%d first page %s ms, one that finds nobody %s ms", i+1, o.Benchmarks, figures.Figure(all["first median-ms"][i]), figures.Figure(all["nobody median-ms"][i]))
	}
	return all, nil
}
