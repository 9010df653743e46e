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
	"log/slog"
	"net/http"
	"time"
)

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
