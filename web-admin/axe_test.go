package webadmin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// fromNPM is a file of a package that testdata/npm pins, where `make setup` put it: in a cache that is named by the lock's sum.
func fromNPM(name string) ([]byte, error) {
	lock, err := os.ReadFile(filepath.Join("testdata", "npm", "package-lock.json"))
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(lock)
	b, err := os.ReadFile(filepath.Join(cache, "mailweir-npm", hex.EncodeToString(sum[:]), "node_modules", filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("what the test takes from npm is not here; `make setup` fetches it: %w", err)
	}
	return b, nil
}

var axeSource = sync.OnceValues(func() (string, error) { b, err := fromNPM("axe-core/axe.min.js"); return string(b), err })

// axeAll are the rules of WCAG 2.2 up to AA, and what axe calls best practice. axeColours are those of them that look at colours, which is all that
// is different in the dark.
const (
	axeAll     = `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`
	axeColours = `{type: "rule", values: ["color-contrast", "link-in-text-block"]}`
)

const axeRun = `axe.run(document, {runOnly: %s, resultTypes: ["violations"]}).then(r => ({
	passes: r.passes.length,
	violations: r.violations.map(v => v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.slice(0, 5).map(n => n.html.slice(0, 160) + " [" + n.failureSummary + "]").join(" | ")),
}))`

// axeHere brings Deque's axe-core to the page that is shown. It lives in an isolated world of DevTools: it sees the same document as the page's own
// scripts and they do not see it, and the page's content policy is neither changed nor bypassed. finds looks at the page as it is then, until another
// one is opened.
func axeHere(t *testing.T, ctx context.Context) (finds func(dark bool) []string) {
	t.Helper()
	source, err := axeSource()
	if err != nil {
		t.Fatal(err)
	}
	var world page.CreateIsolatedWorldResult
	inside := func(p *runtime.EvaluateParams) { p.ContextID = world.ExecutionContextID }
	if _, err := chromedp.Run(ctx, func(ctx context.Context, tab *chromedp.Target) (v chromedp.Void, err error) {
		tree, err := chromedp.Call(ctx, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return v, err
		}
		if world, err = chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "axe"}); err != nil {
			return v, err
		}
		_, err = chromedp.Evaluate[bool](source+";true", inside)(ctx, tab)
		return v, err
	}); err != nil {
		t.Fatalf("bring axe: %v", err)
	}
	return func(dark bool) (violations []string) {
		t.Helper()
		rules, least := axeAll, 5 // the shortest page has more: a title, a language, a main part, a heading
		if dark {
			rules, least = axeColours, 1
		}
		found, err := chromedp.Run(ctx, chromedp.Evaluate[struct {
			Passes     int      `json:"passes"`
			Violations []string `json:"violations"`
		}](fmt.Sprintf(axeRun, rules), chromedp.EvalAwaitPromise, inside))
		if err != nil {
			t.Fatalf("axe: %v", err)
		}
		if found.Passes < least {
			t.Errorf("axe looked at next to nothing: %d rules passed", found.Passes)
		}
		for _, v := range found.Violations {
			violations = append(violations, strings.Join(strings.Fields(v), " "))
		}
		return violations
	}
}

// Every page at the width of a phone and of a desk, in both colours: axe finds nothing, and nothing is scrolled sideways.
func TestEveryPageIsAccessible(t *testing.T) {
	ctx := browserFor(t, 20*time.Minute)
	stops := tour(t)
	for _, p := range stops {
		visit(t, ctx, p)
		finds := axeHere(t, ctx)
		for _, width := range []int64{360, 1440} {
			for _, dark := range []bool{false, true} {
				name := fmt.Sprintf("%s, %d px, %s", p.name, width, map[bool]string{false: "light", true: "dark"}[dark])
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 844), colours(dark)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if wide := evaluate[int](t, ctx, `document.scrollingElement.scrollWidth - innerWidth`); wide > 0 {
					t.Errorf("%s: scrolls sideways by %d px", name, wide)
				}
				for _, v := range finds(dark) {
					t.Errorf("%s: %s", name, v)
				}
			}
		}
	}
	t.Logf("axe looked at %d pages, at two widths and in two colours each", len(stops))
}

// axe is worth what it finds: on a page that was broken on purpose it finds each of these.
func TestAxeFindsWhatIsBroken(t *testing.T) {
	ctx := browser(t)
	s := startServer(t, Options{Source: busyBox()})
	logIn(t, ctx, s)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL()+"plans")); err != nil { // it stays as it is, where others are kept current
		t.Fatal(err)
	}
	evaluate[bool](t, ctx, `(() => { const main = document.getElementById("main");
		main.querySelector("h1").style.color = "#a0a0a0";
		document.querySelector(".search input").removeAttribute("aria-label"); document.querySelector(".search input").removeAttribute("placeholder");
		main.querySelector("a").textContent = "";
		document.documentElement.removeAttribute("lang"); return true; })()`)
	found := strings.Join(axeHere(t, ctx)(false), "\n")
	for _, rule := range []string{"color-contrast (", "label (", "link-name (", "html-has-lang ("} {
		if !strings.Contains(found, rule) {
			t.Errorf("axe does not find %s: %s", rule, found)
		}
	}
}
