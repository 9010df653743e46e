package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/helper"
)

// pagesGoals are of the page of subscribers, on a box with nothing else to do: of every way to ask for it.
func pagesGoals() (all []goal) {
	for _, kind := range kindsOfPages {
		all = append(all, goal{what: kind.what, from: kind.what, unit: "ms", most: 100})
	}
	return append(all,
		goal{what: "rows on one page, at most", from: "rows", most: 100, always: true},
		goal{what: "bytes of one page, at most", from: "bytes", unit: "bytes", told: true})
}

// pagesTask is somebody who opens each of these pages so many times, in turn.
type pagesTask struct {
	Reader readerTask
	Each   int
}

// toLast finds where the last page by id begins: the API's list leads there.
func (r *reader) toLast() error {
	for {
		var page struct {
			Items []json.RawMessage
			Next  string
		}
		body, err := r.get("/api/v1/subscribers?sort=id&brief=1&limit=1000&cursor=" + url.QueryEscape(r.Last))
		if err == nil {
			err = json.Unmarshal(body, &page)
		}
		if err != nil || page.Next == "" {
			return err
		}
		r.Last = page.Next
	}
}

type pagesResult struct {
	Took        map[string][]time.Duration // by kind of page
	Last        string
	Rows, Bytes int // the most of one page
}

// kindsOfPages leads to the next page of each kind; before is the one of its kind that came last.
var kindsOfPages = []struct {
	what string
	path func(r *reader, n int, before string) string
}{
	{aViewer + "the first page", fixed("/subscribers")},
	{aViewer + "by budget", fixed("/subscribers?sort=budget")},
	{aViewer + "the next page, and the next", next("/subscribers")},
	{"the first page", fixed("/subscribers")},
	{"by name", fixed("/subscribers?sort=name")},
	{"by id", fixed("/subscribers?sort=id")},
	{"by budget", fixed("/subscribers?sort=budget")},
	{"by the stage's begin", fixed("/subscribers?sort=since")},
	{"those in stage observe", fixed("/subscribers?stage=observe")},
	{"those above it", fixed("/subscribers?stage=cut,defer,pace,warn")},
	{"those who are exempt", fixed("/subscribers?exempt=1")},
	{"the next page, and the next", next("/subscribers")},
	{"the next page by name", next("/subscribers?sort=name")},
	{"the last page", func(r *reader, _ int, _ string) string {
		return "/subscribers?sort=id&cursor=" + url.QueryEscape(r.Last)
	}},
	{"a search by name, and the page of the line that it finds", search(func(word string) string { return word })},
	{"by part of a name that ten have", search(func(word string) string { return word[:len(word)-1] })},
	{"by part of a name that all have", search(func(string) string { return "line" })},
	{"the same, by name", fixed("/subscribers?sort=name&q=line")},
	{"by id, and the page of the line", search(func(word string) string { return "S-" + numberOf(word) })},
	{"by an IPv4 address, and the page of the line", search(func(word string) string { return addressOf(word).String() })},
	{"by an IPv6 address that nobody has", fixed("/subscribers?q=2001:db8:ffff::1")},
	{"by a prefix of 256 lines", search(func(word string) string { a := addressOf(word).As4(); return fmt.Sprintf("10.%d.%d", a[1], a[2]) })},
	{"by a prefix of all", fixed("/subscribers?q=10.0.0.0/8")},
	{"by a plan that all have", fixed("/subscribers?q=residential")},
	{"a search that finds nobody", fixed("/subscribers?q=nobody-of-this-name")},
	{"the API's first page of 100", fixed("/api/v1/subscribers?limit=100")},
	{"the overview", fixed("/")},
}

// aViewer begins what is asked for by somebody who sees no names, and gets another order.
const aViewer = "for a viewer: "

type pathOf = func(r *reader, n int, before string) string

func fixed(path string) pathOf { return func(*reader, int, string) string { return path } }

// next goes from page to page, and begins anew behind the last one.
func next(first string) pathOf {
	return func(_ *reader, _ int, before string) string {
		if m := nextPage.FindStringSubmatch(before); m != nil {
			return html.UnescapeString(m[1])
		}
		return first
	}
}

// search looks for what is made of the name of one line after the other.
func search(of func(word string) string) pathOf {
	return func(r *reader, n int, _ string) string {
		return "/subscribers?q=" + url.QueryEscape(of(r.Words[n%len(r.Words)]))
	}
}

// numberOf is what makes a line's name its own, and addressOf its address.
func numberOf(word string) string { return strings.TrimPrefix(word, "Line ") }

func addressOf(word string) netip.Addr {
	n, err := strconv.Atoi(numberOf(word))
	if err != nil {
		panic("bench: " + word + " is no line's name")
	}
	return nth(firstAddress, n)
}

var nextPage = regexp.MustCompile(`href="([^"]*)" rel="next"`)

func openPages(task pagesTask, stop <-chan struct{}) (pagesResult, error) {
	all := pagesResult{Took: map[string][]time.Duration{}}
	r, err := newReader(task.Reader)
	if err == nil {
		err = r.login("admin")
	}
	var viewer *reader
	if err == nil {
		viewer, err = newReader(task.Reader)
	}
	if err == nil {
		err = viewer.login("viewer")
	}
	if err == nil && r.Last == "" {
		err = r.toLast()
	}
	if err != nil {
		return all, err
	}
	all.Last = r.Last
	before := map[string]string{}
	for n := range task.Each {
		for _, kind := range kindsOfPages {
			asks := r
			if strings.HasPrefix(kind.what, aViewer) {
				asks = viewer
			}
			began := time.Now()
			body, err := asks.get(kind.path(r, n, before[kind.what]))
			if err != nil {
				return all, err
			}
			all.Took[kind.what] = append(all.Took[kind.what], time.Since(began))
			before[kind.what] = string(body)
			all.Rows = max(all.Rows, strings.Count(before[kind.what], `<tr id="line-`))
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
		task.Last = one.Last
		for what, took := range one.Took {
			for _, d := range took {
				all[what] = append(all[what], float64(d.Microseconds())/1000)
			}
		}
		all["rows"], all["bytes"] = append(all["rows"], float64(one.Rows)), append(all["bytes"], float64(one.Bytes))
		o.progress("%d/%d", i+1, o.Benchmarks)
	}
	return all, nil
}
