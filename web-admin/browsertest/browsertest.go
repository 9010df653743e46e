// Package browsertest is a person with a headless Chromium, for tests of what is shown to people. The pages' own scripts are off unless a test
// wants them: everything has to work without them.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// chromium is Debian's.
const chromium = "/usr/bin/chromium"

// Act is something that a person does, or waits for.
type Act = chromedp.Action[chromedp.Void]

// Person is somebody at a browser of their own. It ends with the test.
type Person struct {
	URL string // of the web admin's first page

	t    *testing.T
	ctx  context.Context
	said func() []string
}

// New starts a browser, which takes every certificate, and opens nothing yet.
func New(t *testing.T, url string) *Person {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Fatalf("the browser tests need Chromium (apt-get install chromium): %v", err)
	}
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath(chromium), chromedp.Headless, chromedp.NoSandbox,
		chromedp.IgnoreCertErrors, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Flag("disable-dev-shm-usage", true))
	t.Cleanup(cancel)
	ctx, cancelTab := chromedp.NewContext(alloc)
	t.Cleanup(cancelTab)
	ctx, cancelTime := context.WithTimeout(ctx, 6*time.Minute)
	t.Cleanup(cancelTime)
	p := &Person{URL: url, t: t, ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1440, 900), scripting(false)); err != nil { // the browser lives as long as this context
		t.Fatal(err)
	}
	p.said = Complaints(ctx)
	return p
}

func scripting(on bool) Act {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
		return err
	})
}

// Scripts lets the pages that are opened from now on run their scripts, or not.
func (p *Person) Scripts(on bool) {
	p.t.Helper()
	p.Do("scripts", scripting(on))
}

// Complaints is what the browser has complained of so far.
func (p *Person) Complaints() []string { return p.said() }

// Complaints collects whatever the browser of ctx says on its console from now on: scripts that fail, resources that are refused, policy violations.
func Complaints(ctx context.Context) func() []string {
	var mu sync.Mutex
	var said []string
	listening := make(chan struct{})
	go func() {
		messages := chromedp.Console(ctx)
		close(listening)
		for m, err := range messages {
			if err != nil {
				return
			}
			mu.Lock()
			said = append(said, fmt.Sprint(m))
			mu.Unlock()
		}
	}()
	<-listening
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return said
	}
}

// Do does one after the other, within a minute, and ends the test with what the page says if that does not work.
func (p *Person) Do(why string, acts ...Act) {
	p.t.Helper()
	ctx, end := context.WithTimeout(p.ctx, time.Minute)
	defer end()
	if err := chromedp.Do(ctx, acts...); err != nil {
		said, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`location.href + ": " + document.body.innerText`))
		p.t.Fatalf("%s: %v; the page says: %s", why, err, strings.Join(strings.Fields(said), " "))
	}
}

// Text is what an element says, with single spaces.
func (p *Person) Text(css string) string {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.TextContent(chromedp.CSS(css)))
	if err != nil {
		p.t.Fatalf("%s: %v", css, err)
	}
	return strings.Join(strings.Fields(v), " ")
}

// Said is what a script of one expression gives.
func (p *Person) Said(js string) string {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](js))
	if err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// Count is how many elements of a kind the page has.
func (p *Person) Count(css string) int {
	p.t.Helper()
	n, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](fmt.Sprintf(`document.querySelectorAll(%q).length`, css)))
	if err != nil {
		p.t.Fatalf("%s: %v", css, err)
	}
	return n
}

// Download presses what gives a file, a link or a button, and gives its name and what is in it.
func (p *Person) Download(css string) (name string, file []byte) {
	p.t.Helper()
	dir := p.t.TempDir()
	p.Do("download "+css, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.Call(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir})
		return err
	}), Click(css), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		for {
			there, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				return err
			}
			if len(there) == 1 && filepath.Ext(there[0]) != ".crdownload" { // which is its name until it is whole
				name = filepath.Base(there[0])
				file, err = os.ReadFile(there[0])
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("no file came: %w", ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}))
	return name, file
}

// Open goes to a page, See waits for an element, Click presses one.
func Open(url string) Act  { return chromedp.Navigate(url) }
func See(css string) Act   { return chromedp.WaitVisible(chromedp.CSS(css)) }
func Click(css string) Act { return chromedp.Click(chromedp.CSS(css)) }

// Send chooses a file.
func Send(css, file string) Act { return chromedp.SetUploadFiles(chromedp.CSS(css), []string{file}) }

// Read waits until an element says something: the page before may have it, too, with other words.
func Read(css, text string) Act {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		said := chromedp.Evaluate[bool](fmt.Sprintf(`!!document.querySelector(%[1]q) && document.querySelector(%[1]q).innerText.includes(%[2]q)`, css, text))
		for {
			if ok, err := said(ctx, tab); err == nil && ok { // an error: the next page is on its way
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s does not say %q: %w", css, text, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// Type puts text into a field, in the place of what is there. "\r" at its end is Enter.
func Type(css, text string) Act {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := Choose(css, "")(ctx, tab); err != nil {
			return err
		}
		_, err := chromedp.SendKeys(chromedp.CSS(css), text)(ctx, tab)
		return err
	})
}

// Script runs a script in the page, which is there as long as that is.
func Script(js string) Act {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.Evaluate[bool]("("+js+", true)")(ctx, tab)
		return err
	})
}

// Choose gives a field a value from outside the page.
func Choose(css, value string) Act {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.Evaluate[bool](fmt.Sprintf("(document.querySelector(%q).value = %q, true)", css, value))(ctx, tab)
		return err
	})
}
