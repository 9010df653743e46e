package evidence

import (
	"bytes"
	_ "embed"
	"html/template"
	"time"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"time": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(pageText))

type counted struct {
	What string
	N    int
}

// first are the n words with the highest counts.
func first(counts map[string]int, n int) (all []counted) {
	for _, w := range most(counts) {
		if len(all) == n {
			break
		}
		all = append(all, counted{w, counts[w]})
	}
	return all
}

// page is report.html. noReport is why there is no xarf.json; nil: there is one.
func (p *pack) page(noReport error) ([]byte, error) {
	src := map[string]int{}
	for a, n := range p.src {
		src[a.String()] = n
	}
	view := struct {
		Case
		Sessions, Decisions, Messages, Networks int
		Left                                    left
		First, Last, From                       time.Time
		Sources, Dst, JA4                       []counted
		Seen, NoReport, XARF                    string
		Observed, Enforced                      bool
	}{
		Case: p.Case, Sessions: p.sessions, Decisions: p.decisions, Messages: p.messages, Left: p.left, Networks: len(p.dst),
		First: p.first, Last: p.last, From: p.Opened.Add(-Before), Sources: first(src, 20), Dst: first(p.dst, 20), JA4: first(p.ja4, 20), Seen: p.seen(), XARF: XARF,
		Observed: p.observed, Enforced: p.enforced,
	}
	if noReport != nil {
		view.NoReport = noReport.Error()
	}
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, view)
	return b.Bytes(), err
}
