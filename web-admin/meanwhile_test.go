package webadmin

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/mailweir/mailweir/web-admin/users"
)

// A session is worth nothing once its password is another one, also if nobody came to end it: it began while the password was reset.
func TestALoginFromBeforeAResetIsNone(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	person(t, s, "olga", users.Operator)
	before := map[string]login{"/": loginOf(s, "olga", inside), "/login/password": loginOf(s, "olga", byChange), "/login/code": loginOf(s, "olga", byCode), "/login/factor": loginOf(s, "olga", byEnrol)}
	if _, _, err := s.resetPassword(actor{}, "olga", ""); err != nil {
		t.Fatal(err)
	}
	for path, l := range before {
		cookie := cookieName + "=" + s.logins.begin(l)
		if a := get(t, s, path, "Cookie", cookie); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login" {
			t.Errorf("%s: %s to %q", path, a.Status, a.Header.Get("Location"))
		}
		if a := post(t, s, "/login/password", url.Values{"password": {"of my own choice"}, "again": {"of my own choice"}}, "Cookie", cookie); a.Header.Get("Location") != "/login" {
			t.Errorf("a password chosen after it: %s to %q", a.Status, a.Header.Get("Location"))
		}
	}
	if u, _ := s.users.Find("olga"); !u.MustChange {
		t.Error("the password of the reset is not the one that counts")
	}
}
