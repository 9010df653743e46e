package webadmin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Each of a few is told, each with its reason; of a flood some, and how many there were.
func TestAFloodOfRefusedLoginsMakesFewRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said []string
		all := 0
		l := &refusals{now: time.Now, tell: func(one refusal, more int, since time.Time) {
			all += 1 + more
			said = append(said, fmt.Sprint(one.name, " ", one.why, " ", more))
			if (more > 0) == since.IsZero() {
				t.Errorf("%d more since %v", more, since)
			}
		}}
		one := func(n int, why string) refusal { return refusal{name: fmt.Sprint(n), why: why} }
		for n := range refusalsAtOnce {
			l.add(one(n, "code"))
		}
		if len(said) != refusalsAtOnce || said[3] != "3 code 0" {
			t.Errorf("%q", said)
		}
		l.add(one(1, "password")) // another reason
		if said[len(said)-1] != "1 password 0" {
			t.Errorf("%q", said)
		}
		said, all = nil, 0
		const flood = 24 * 60 * 60 // a day, one a second
		for n := range flood {
			l.add(one(n, "code"))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if records := len(said); records > 2*24*60+2 || records < 24*60 {
			t.Errorf("%d records of a day", records)
		}
		time.Sleep(2 * refusalEvery)
		synctest.Wait()
		if all != flood {
			t.Errorf("%d of %d are told", all, flood)
		}
		said = nil
		time.Sleep(time.Hour)
		for n := range refusalsAtOnce + 5 {
			l.add(one(n, "code"))
		}
		l.end()
		l.add(one(99, "code")) // nobody counts any more
		if want := []string{"24 code 4", "99 code 0"}; len(said) != refusalsAtOnce+2 || !slices.Equal(said[refusalsAtOnce:], want) {
			t.Errorf("at the end %q", said)
		}
	})
}

// So it is at the real door: whoever has no login does not fill the journal.
func TestKnockingDoesNotFillTheRecords(t *testing.T) {
	t.Parallel()
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear})
	person(t, s, boss, users.Admin)
	const knocks = 100
	for range knocks {
		if a := postLogin(t, s, "guess", "a guess of mine, wrong"); a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusTooManyRequests {
			t.Fatal(a.Status)
		}
	}
	s.refusals.end()
	refused, more := 0, 0
	for _, line := range audit.words() {
		refused++
		if _, text, found := strings.Cut(line, "this one and "); found {
			fmt.Sscan(text, &more)
		}
	}
	if refused != triesAtOnce+refusalsAtOnce+1 || refused+more != knocks {
		t.Errorf("%d records, one of which speaks of %d more", refused, more)
	}
}

// Who may see records takes them away as often as they need to, and not so often that what says so fills the journal.
func TestExportsAreNotWithoutEnd(t *testing.T) {
	t.Parallel()
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear, Now: func() time.Time { return noon }})
	for n := range exportsAtOnce + 3 {
		a := get(t, s, "/api/v1/records.csv?kind=STAGE", "Authorization", "Bearer "+tokenOf(t, s))
		if want := map[bool]int{true: http.StatusOK, false: http.StatusTooManyRequests}[n < exportsAtOnce]; a.StatusCode != want {
			t.Fatalf("export %d: %s", n, a.Status)
		}
		if said := body(t, a); n >= exportsAtOnce && !strings.Contains(said, "The next one may begin in 6") {
			t.Error(said)
		}
	}
	if a := get(t, s, "/api/v1/records.csv", "Cookie", enterAs(t, s, "vera", users.Viewer)); a.StatusCode != http.StatusOK {
		t.Errorf("somebody else: %s", a.Status)
	}
	exported := 0
	for _, line := range audit.words() {
		if strings.Contains(line, "records_exported") {
			exported++
		}
	}
	if exported != exportsAtOnce+1 {
		t.Errorf("%d records", exported)
	}
}
