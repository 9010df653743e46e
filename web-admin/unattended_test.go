package webadmin

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/users"
)

// A page that stays open asks for itself and listens for events. That keeps nobody logged in; what a person asks for does.
func TestAnOpenPageKeepsNobodyLoggedIn(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon.Add(time.Duration(later.Load())) }})
	left, used := enterAs(t, s, "olga", users.Operator), enter(t, s)
	for range 2 {
		later.Add(int64(10 * time.Minute))
		want := http.StatusOK
		if later.Load() > int64(sessionIdle) {
			want = http.StatusSeeOther
		}
		if a := get(t, s, "/", "Cookie", left, "Mailweir-By-Itself", "1"); a.StatusCode != want {
			t.Errorf("an open page after %v: %s", time.Duration(later.Load()), a.Status)
		}
		if want == http.StatusOK {
			get(t, s, "/api/v1/events", "Cookie", left).Body.Close()
		}
		if a := get(t, s, "/", "Cookie", used); a.StatusCode != http.StatusOK {
			t.Errorf("a person's after %v: %s", time.Duration(later.Load()), a.Status)
		}
	}
}

// In a browser: the overview is left open, asks for itself, and says after a quarter of an hour that the login has ended.
func TestAnOpenPageSaysThatItsLoginEnded(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon.Add(time.Duration(later.Load())) }})
	ctx := browser(t)
	logIn(t, ctx, s)
	later.Store(int64(10 * time.Minute))
	seen := noon.Add(10 * time.Minute).In(vienna).Format("15:04:05")
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(evaluate[string](t, ctx, `document.querySelector("footer").textContent`), seen); {
		if time.Now().After(deadline) {
			t.Fatalf("the page does not come to %s", seen)
		}
	}
	later.Store(int64(16 * time.Minute))
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#ended"))); err != nil {
		t.Fatal(err)
	}
	if next := evaluate[string](t, ctx, `document.querySelector("input[name=next]").value`); next != "/" {
		t.Errorf("it goes on at %q", next)
	}
}
