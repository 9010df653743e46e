// Package webadmin serves the box's web admin, its JSON API and its metrics.
//
// It reads from a [Source] and never from the packet path: a slow browser, a panic in a template or a full disk here costs no packet.
// The same view structs fill the pages and answer JSON, so a person and a script read the same words and numbers.
//
// # Access
//
// There is one admin token, 256 random bits made at the first start and kept in DATA/admin.token (mode 0600). The API and the
// metrics take it as a bearer token; the login page takes it once and hands out a session cookie. Sessions live in memory only
// (a restart logs everybody out), end 15 minutes after the last request or 12 hours after login, and are forgotten on the server at
// logout. The token has full entropy, so it is compared by digest in constant time and no slow hash is needed; wrong ones are
// throttled per source address all the same. Over the unix socket in the data directory the API answers without a token: whoever
// may open that file (mode 0600) is the owner.
package webadmin

import (
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// Source is where every number on a page and in the API comes from; package appliance implements it.
//
// All methods may be called from many goroutines at once, must not block on disk or network, and return copies that the web admin
// may keep. They are called about once a second for each open page.
type Source interface {
	// Status is the box as a whole, now.
	Status() Status
	// Traffic is the last hour, oldest step first; at most 60 points are drawn.
	Traffic() Traffic
	// Subscribers lists whoever matches q, strictest stage first, then fullest budget, then id. next is the cursor of the
	// following page, empty on the last one. Decisions may be left out.
	Subscribers(q Query) (items []Subscriber, next string)
	// Subscriber is one line with its decisions, newest first.
	Subscriber(id string) (Subscriber, bool)
	// Records lists the last records, newest first.
	Records(q RecordQuery) (items []Record, next string)
	// Release lets a subscriber go by hand and writes the AUDIT record; who is the actor as the web admin knows it, for example
	// "admin 192.0.2.7" or "local". It returns ErrUnknownSubscriber if there is none of that id.
	Release(id, who string) (Subscriber, error)
}

// ErrUnknownSubscriber is what [Source.Release] returns for an id that nobody has.
var ErrUnknownSubscriber = errors.New("unknown subscriber")

// Options configures a [Server]. Source and DataDir are required.
type Options struct {
	Listen string // TCP address of the HTTPS server, for example ":8443"; empty: none
	// DataDir holds admin.token and tls/; the socket mailweir.sock is made in it. The directory must exist.
	DataDir string
	// CertFile and KeyFile name the operator's own pair (PEM). Both empty: a self-signed one is made once and kept in DataDir/tls.
	CertFile, KeyFile string
	// Metrics answers GET /metrics; nil: there is no such page. MetricsPublic serves it without a token.
	Metrics       http.Handler
	MetricsPublic bool
	Source        Source
	// Audit hears of logins, refused logins and logouts; nil: they are only logged. It must not block.
	Audit func(AuditEvent)
	// Location is the zone of the times on the pages; nil: the machine's. The API always says UTC.
	Location *time.Location
	Log      *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now
}

// AuditEvent is something that a person did at the web admin's door.
type AuditEvent struct {
	What string // "login", "login refused", "logout"
	From string // the peer's address without port
	Why  string // for a refusal: "wrong token" or "too many tries"
}
