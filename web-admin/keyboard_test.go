package webadmin

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// focused is where the keyboard is, and whether one can see that.
type focused struct {
	At      int    `json:"at"` // among all elements of the page; -1: nowhere on it
	What    string `json:"what"`
	Ring    bool   `json:"ring"`
	Covered string `json:"covered"` // what lies over it
	Closed  bool   `json:"closed"`  // it opens something that is closed
}

const whereFocus = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body || e === document.documentElement) return {at: -1};
	const s = getComputedStyle(e), r = [...e.getClientRects()].find(r => r.width > 0 && r.height > 0) || e.getBoundingClientRect();
	const top = document.elementFromPoint(r.left + r.width / 2, r.top + Math.min(r.height, 24) / 2); // of a large field its first line
	const free = top && (e.contains(top) || top.contains(e) || e.labels && [...e.labels].some(l => l.contains(top)));
	return {at: [...document.querySelectorAll("*")].indexOf(e), what: e.outerHTML.slice(0, 120),
		ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
		covered: free ? "" : top ? top.outerHTML.slice(0, 80) : "it is not on the screen",
		closed: e.nodeName === "SUMMARY" && !e.parentElement.open};
})()`

// canAct are the elements with which something can be done, as the page stands when everything that can be opened was. Of the round buttons of a
// group one takes the focus, and arrows go on from there.
const canAct = `(() => {
	const all = [...document.querySelectorAll("*")], groups = new Set();
	return all.filter(e => {
		if (!e.matches("a[href],button,input:not([type=hidden]),select,textarea,summary,[tabindex]:not([tabindex='-1'])") || e.disabled) return false;
		for (let p = e; p; p = p.parentElement) { const s = getComputedStyle(p); if (s.display === "none" || s.visibility === "hidden") return false; }
		if (e.type !== "radio") return true;
		const group = [...document.getElementsByName(e.name)].filter(o => o.form === e.form), one = group.find(o => o.checked) || group[0];
		return e === one;
	}).map(e => ({at: all.indexOf(e), what: e.outerHTML.slice(0, 120)}));
})()`

// tabThrough goes through the page by Tab alone, opens what is closed by Enter, and tells what it did not get to or could not see.
func tabThrough(t *testing.T, ctx context.Context) (stops int, wrong []string) {
	t.Helper()
	press := func(key string) focused {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.KeyEvent(key)); err != nil {
			t.Fatal(err)
		}
		return evaluate[focused](t, ctx, whereFocus)
	}
	reached := map[int]bool{}
	first, last, nowhere := -1, -1, 0
	for range 2000 {
		f := press("\t")
		if f.At < 0 {
			if nowhere++; nowhere > 1 {
				break // round once, or there is nothing
			}
			continue
		}
		if f.At == first && last != first {
			break
		}
		if first < 0 {
			first = f.At
		}
		last = f.At
		if reached[f.At] {
			continue // one part of a field after the other, as dates have them
		}
		reached[f.At] = true
		if !f.Ring {
			wrong = append(wrong, "no ring is seen around "+f.What)
		}
		if f.Covered != "" {
			wrong = append(wrong, fmt.Sprintf("%s is under %s", f.What, f.Covered))
		}
		if f.Closed {
			if f = press("\r"); f.Closed || f.At != last {
				wrong = append(wrong, "Enter does not open "+f.What)
			}
		}
	}
	for _, e := range evaluate[[]focused](t, ctx, canAct) {
		if !reached[e.At] {
			wrong = append(wrong, "Tab does not get to "+e.What)
		}
	}
	return len(reached), wrong
}

func TestEverythingCanBeReachedByKeyboard(t *testing.T) {
	ctx := browserFor(t, 20*time.Minute)
	stops := tour(t)
	all := 0
	for _, p := range stops {
		for _, width := range []int64{360, 1440} {
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 844)); err != nil {
				t.Fatal(err)
			}
			visit(t, ctx, p)
			n, wrong := tabThrough(t, ctx)
			for _, w := range slices.Compact(wrong) {
				t.Errorf("%s, %d px: %s", p.name, width, w)
			}
			all += n
		}
	}
	t.Logf("%d stops of Tab on %d pages at two widths", all, len(stops))
}

func TestTheFirstTabSkipsToThePage(t *testing.T) {
	ctx := browser(t)
	s := startServer(t, Options{Source: busyBox()})
	logIn(t, ctx, s)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL()), chromedp.KeyEvent("\t\r")); err != nil {
		t.Fatal(err)
	}
	if at := evaluate[string](t, ctx, `document.activeElement.id`); at != "main" {
		t.Errorf("Tab, Enter leads to %q, want the page itself", at)
	}
}
