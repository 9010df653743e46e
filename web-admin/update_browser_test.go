package webadmin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// life runs a web admin until it is ended, at an address where another one may come after it.
func life(t *testing.T, o Options) (s *Server, end func()) {
	t.Helper()
	o.Location = vienna
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	return s, func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// With scripts an upload tells how far it is, the page that the restart leads to waits for the box, and that of the trial for its end.
func TestThePageFindsItsWayBackToTheBox(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	dir := shortDir(t)
	s, end := life(t, Options{Source: box, DataDir: dir, Listen: "127.0.0.1:0"})
	logIn(t, ctx, s)
	file := filepath.Join(t.TempDir(), "v11.mwu")
	if err := os.WriteFile(file, []byte(soundUpdate+strings.Repeat("x", 2<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	poll := func(why, js string) {
		t.Helper()
		if _, err := chromedp.Run(ctx, chromedp.Poll[bool](js, chromedp.WithPollingTimeout(30*time.Second))); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
	}
	see := func(css string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.CSS(css)) }
	do := func(why string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
	}
	do("the page", chromedp.Navigate(s.URL()+"settings/update"), see("#file"), chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}))
	evaluate[bool](t, ctx, `(window.told = [], new MutationObserver(() => told.push(document.querySelector("[data-progress]").textContent)).observe(document.querySelector("[data-progress]"), {childList: true}),
		addEventListener("pagehide", () => sessionStorage.setItem("told", told.join("|"))), true)`)
	do("sent", chromedp.Click(chromedp.CSS("form[data-upload] button")), see("#waits"))
	if told := evaluate[string](t, ctx, `sessionStorage.getItem("told")`); !strings.Contains(told, "The file is being sent.") || !strings.Contains(told, " of 2.1 MB have been sent.") || !strings.Contains(told, "All of it has been sent.") {
		t.Errorf("the page told %q", told)
	}
	do("restarted", chromedp.Click(chromedp.CSS("#do-reboot summary")), chromedp.Click(chromedp.CSS("#do-reboot button")), see("#rebooting"))
	if did := box.done(); !strings.HasSuffix(did, ", admin 127.0.0.1 reboot") {
		t.Errorf("%q", did)
	}
	// The box is still there for a while, then it is down, and then it is another life of it, in which nobody is logged in.
	evaluate[bool](t, ctx, `(window.looks = 0, window.really = window.fetch, window.fetch = (...a) => really(...a).finally(() => looks++), true)`)
	poll("it looks whether the box is there", `looks >= 2`)
	if at := evaluate[string](t, ctx, `location.pathname`); at != "/settings/update/reboot" {
		t.Errorf("before the box went down the page went on to %s", at)
	}
	at := s.door.Addr().String()
	end()
	before := evaluate[int](t, ctx, `looks`)
	poll("it keeps looking", fmt.Sprintf("looks >= %d", before+2))
	if at := evaluate[string](t, ctx, `location.pathname`); at != "/settings/update/reboot" {
		t.Errorf("while the box was down the page went on to %s", at)
	}
	box.mu.Lock()
	box.firmware = triedFirmware()
	box.mu.Unlock()
	_, end = life(t, Options{Source: box, DataDir: dir, Listen: at})
	t.Cleanup(end)
	do("back", see("#password"), chromedp.SendKeys(chromedp.CSS("#name"), boss), chromedp.SendKeys(chromedp.CSS("#password"), password+"\r"), see("#trial"))
	box.mu.Lock()
	box.firmware = aFirmware()
	box.mu.Unlock()
	do("the trial is over", see("#file"))
	if text := evaluate[string](t, ctx, `document.querySelector("#last").textContent`); !strings.Contains(text, "came up healthy and stays") {
		t.Errorf("%q", text)
	}
}
