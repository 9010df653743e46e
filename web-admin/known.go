package webadmin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// knownName is the cookie that says that a user logged in from this browser before. It opens nothing: it only has tries counted apart
// from those of strangers, so that who guesses at a name from everywhere keeps its owner out of no browser of theirs (OWASP,
// Slow Down Online Guessing Attacks with Device Cookies).
const (
	knownName = "__Host-mailweir-known"
	knownFor  = 180 * 24 * time.Hour
)

// knownCookie is the cookie for a browser from which u logged in. It holds until the password is changed.
func (s *Server) knownCookie(u users.User) *http.Cookie {
	nonce := randomText()
	return &http.Cookie{Name: knownName, Value: nonce + "." + s.knownMAC(u, nonce), Path: "/", MaxAge: int(knownFor.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

func (s *Server) knownMAC(u users.User, nonce string) string {
	mac := hmac.New(sha256.New, derived(s.users.Key(), "known browsers"))
	var changed [8]byte
	binary.BigEndian.PutUint64(changed[:], uint64(u.Changed.UnixNano()))
	mac.Write(changed[:])
	mac.Write([]byte(nonce + "\x00" + u.Name))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// knownBrowser is what tries from this browser for name are counted under; empty: nobody of that name logged in here.
func (s *Server) knownBrowser(r *http.Request, name string) string {
	c, err := r.Cookie(knownName)
	if err != nil {
		return ""
	}
	nonce, mac, ok := strings.Cut(c.Value, ".")
	u, there := s.users.Find(name)
	if !ok || !there || !hmac.Equal([]byte(mac), []byte(s.knownMAC(u, nonce))) {
		return ""
	}
	return "\x01" + nonce
}
